"""After loading: is every weight of the model one of the checkpoint's, and is each a number?

What transformers reports about a checkpoint (tensors missing, left over, of another shape) is an
answer here: missing ones would be drawn at random. What a class leaves out by its own design
(`_keys_to_ignore_on_load_*`, tied weights) is not in that report.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lora_engine.base_models.weight_files import listed
from lora_engine.errors import EngineError
from lora_engine.language import tr, tr_count

log = logging.getLogger(__name__)
# Tensors that models compute themselves: masks, positions, tables of the rotary embedding.
COMPUTED = re.compile(
    r"(^|\.)(masked_bias|attn\.bias|attention\.bias|causal_mask|attn_mask|position_ids|token_type_ids"
    r"|inv_freq|cos_cached|sin_cached|freqs_cis|num_batches_tracked|embed_positions\.weights)$"
)
# Parts of other uses, without which the language model computes the same: heads of other tasks,
# eyes and ears, the layers that predict several tokens at once.
OTHER_PARTS = re.compile(
    r"(^|\.)(score|v_head|value_head|reward_head|qa_outputs|classifier|regression_head|mtp\w*"
    r"|nextn\w*|visual|vision\w*|image\w*|vpm|resampler|multi_modal_projector|mm_projector"
    r"|audio\w*|speech\w*)\."
)


def refuse_incomplete(name: str, report: Mapping[str, Any], body: str = "") -> None:
    """Raises EngineError where weights are missing, left over or of another shape, naming them.

    report: `output_loading_info` of transformers. body: the prefix of the weights that must fit,
    where a new head is drawn beside them; a pooler is part of a head. What the model computes the
    same without is logged and let be.
    """

    def is_head(key: str) -> bool:
        return bool(body) and (not key.startswith(f"{body}.") or "pooler." in key)

    missing = sorted(key for key in report["missing_keys"] if not is_head(key))
    other_shape = sorted(found for found in report["mismatched_keys"] if not is_head(found[0]))
    unexpected = sorted(key for key in report["unexpected_keys"] if not COMPUTED.search(key))
    harmless = [key for key in unexpected if OTHER_PARTS.search(key) or is_head(key)]
    left_over = [key for key in unexpected if key not in set(harmless)]
    if harmless:
        log.warning(
            "%d tensors of %s are of no use here: %s", len(harmless), name, listed(harmless)
        )
    found = _misfits(missing, other_shape, left_over)
    if found:
        raise EngineError(
            tr(
                "The checkpoint of {name} does not fit its model. {found}",
                name=f"{name!r}",
                found=" ".join(found),
            ),
            tr(
                "Get the whole folder from its source again; config.json and the weights "
                "must be of one model, and an adapter saved among them must be merged first."
            ),
        )


def _misfits(
    missing: list[str],
    other_shape: list[tuple[str, Sequence[int], Sequence[int]]],
    left_over: list[str],
) -> list[str]:
    """A sentence for each kind of weights that do not fit.

    other_shape: the weight, its shape in the checkpoint and that in the model.
    """
    found = []
    if missing:
        found.append(
            tr_count(
                "It lacks {count} tensor that its model has: {tensors}.",
                "It lacks {count} tensors that its model has: {tensors}.",
                len(missing),
                tensors=listed(missing),
            )
        )
    if other_shape:
        shapes = [
            tr("{tensor} {here}, not {due}", tensor=key, here=list(here), due=list(due))
            for key, here, due in other_shape
        ]
        found.append(
            tr_count(
                "It holds {count} tensor of another shape: {tensors}.",
                "It holds {count} tensors of another shape: {tensors}.",
                len(shapes),
                tensors=listed(shapes),
            )
        )
    if left_over:
        found.append(
            tr_count(
                "It holds {count} tensor that its model has not: {tensors}.",
                "It holds {count} tensors that its model has not: {tensors}.",
                len(left_over),
                tensors=listed(left_over),
            )
        )
    return found
