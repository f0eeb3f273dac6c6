"""Proof, on one prompt, that the base column is the base and that each adapter does something.

The bare base model runs with every module of PEFT taken out. Its logits are compared with those of
the base column and of each adapter's column, all from one batch. This shows a base column that
answers with an adapter, and an adapter that has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.comparison_model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows
from lora_engine.data import Message

if TYPE_CHECKING:
    import torch

# Rows of a batch are summed in another order than a row alone: float32 differs by a few ulp.
RELATIVE_TOLERANCE = {"torch.float32": 1e-4, "torch.float16": 1e-2, "torch.bfloat16": 5e-2}


@dataclass(frozen=True)
class ColumnProof:
    """One column against the bare base. max_difference: largest |Δ| over all logits.

    adapter_sha256 is over the adapter's configuration and weights; None for the base.
    trained_template is the hash of the chat template it was trained with, where that is known and
    a template is asked in.
    """

    column: str
    max_difference: float
    adapter_sha256: str | None
    trained_template: str | None = None


@dataclass(frozen=True)
class IntegrityProof:
    """What was measured on this prompt.

    base_is_base: the base column's logits are the bare base's, within `tolerance`.
    adapters_differ: every adapter's logits differ from them by more than that.
    largest_logit gives the scale of the differences. template_hash: of the chat template that is
    asked in; empty where a text is continued.
    """

    base: ColumnProof
    adapters: tuple[ColumnProof, ...]
    base_is_base: bool
    adapters_differ: bool
    tolerance: float
    largest_logit: float
    prompt_tokens: int
    base_fingerprint: str
    template_hash: str

    @property
    def other_templates(self) -> tuple[ColumnProof, ...]:
        """The adapters that were trained with another chat template than they are asked in."""
        known = (None, self.template_hash)
        return tuple(proof for proof in self.adapters if proof.trained_template not in known)


def prove_columns(model: ComparisonModel, prompt: str | Sequence[Message]) -> IntegrityProof:
    """Run the bare base and all columns over one prompt and compare their logits.

    Raises EngineError for a prompt that cannot be answered.
    """
    import torch

    messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
    tokens = model.tokens_of([messages])[0]
    columns = [BASE_COLUMN, *(name for name in model.columns if name != BASE_COLUMN)]
    shared = model.shared
    with shared.keep_loaded({name: model.columns[name] for name in columns}) as keys:
        with shared.exclusive(), torch.inference_mode():
            ids = torch.tensor([tokens], device=shared.model.device)
            with shared.switch.bare_base():
                bare = shared.model(input_ids=ids).logits
            logits = _column_logits(model, ids, [keys[name] for name in columns])
            differences = [float((one - bare).abs().max()) for one in logits]
            largest = float(bare.abs().max())
        proofs = [
            _proof(model, name, keys[name], difference)
            for name, difference in zip(columns, differences, strict=True)
        ]
    tolerance = RELATIVE_TOLERANCE[str(bare.dtype)] * max(1.0, largest)
    base, *adapters = proofs
    return IntegrityProof(
        base=base,
        adapters=tuple(adapters),
        base_is_base=base.max_difference <= tolerance,
        adapters_differ=all(proof.max_difference > tolerance for proof in adapters),
        tolerance=tolerance,
        largest_logit=largest,
        prompt_tokens=len(tokens),
        base_fingerprint=shared.fingerprint,
        template_hash=(model.form.hash or "") if model.form.mode == "chat" else "",
    )


def _column_logits(
    model: ComparisonModel, ids: torch.Tensor, keys: Sequence[str | None]
) -> list[torch.Tensor]:
    """Logits (1, positions, vocabulary) of each key, the plain ones from one batch."""
    switch = model.shared.switch
    together = [key for key in keys if not switch.needs_own_pass(key)]
    found: dict[str | None, torch.Tensor] = {}
    slices = [AdapterRows(AdapterVariant(key), row, row + 1) for row, key in enumerate(together)]
    with switch.applied(slices):
        logits = model.shared.model(input_ids=ids.repeat(len(together), 1)).logits
    found.update((key, logits[row : row + 1]) for row, key in enumerate(together))
    for key in keys:
        if key not in found:
            virtual = switch.virtual_tokens(key)
            begun = {} if virtual is None else {"past_key_values": virtual.cache(1)}
            with switch.applied([AdapterRows(AdapterVariant(key), 0, 1)]):
                found[key] = model.shared.model(input_ids=ids, **begun).logits
    return [found[key] for key in keys]


def _proof(model: ComparisonModel, column: str, key: str | None, difference: float) -> ColumnProof:
    if key is None:
        return ColumnProof(column, difference, None)
    check = model.shared.check_of(key)
    in_template = model.form.mode == "chat" and column not in model.form.without
    template = check.template_hash if in_template else None
    return ColumnProof(column, difference, check.sha256, template)
