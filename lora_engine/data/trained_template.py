"""With which chat template an adapter was trained, from the files beside its weights.

`provenance.json` names the template and its hash; `chat_template.jinja` beside it is the template
itself. An adapter made elsewhere may have the second alone. Knows no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.chat_template import UnreadableTemplate, template_hash, templates_in, templates_of
from lora_engine.data.bundled_templates import NO_TEMPLATE_NAME, choose_template, with_template
from lora_engine.language import tr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TrainedTemplate:
    """What is known of one adapter's rows.

    is_completion: they were written without a chat template; None where nothing is said. hash: of
    the templates that its tokenizer had; None where nothing is said. source: the Jinja source with
    that hash, where it lies beside the weights.
    """

    is_completion: bool | None = None
    hash: str | None = None
    source: str | None = None


def trained_template(adapter: Path) -> TrainedTemplate:
    """What the adapter's folder says. Raises EngineError for a broken provenance.json."""
    from lora_engine.adapters.config import read_provenance  # brings NumPy, which rows need not

    provenance = read_provenance(adapter) or {}
    name, said = provenance.get("chat_template"), provenance.get("chat_template_hash")
    source = _source_in(adapter)
    own = template_hash(source) if source else None
    known = said if isinstance(said, str) else own
    has_one = known is not None and known != template_hash(None)
    return TrainedTemplate(
        is_completion=name == "" if isinstance(name, str) else (False if has_one else None),
        hash=known,
        source=source if own == known else None,
    )


def tokenizer_as_trained(
    tokenizer: PreTrainedTokenizerBase, adapter: Path
) -> PreTrainedTokenizerBase:
    """The base's tokenizer with the template that the adapter's rows were written with.

    Itself where that is the base's own, or is not known.
    """
    trained = trained_template(adapter)
    if trained.is_completion:
        return choose_template(tokenizer, NO_TEMPLATE_NAME)
    if trained.source is None or trained.hash == template_hash(templates_of(tokenizer)):
        return tokenizer
    return with_template(tokenizer, trained.source)


def form_changes(
    adapter: Path, tokenizer: PreTrainedTokenizerBase, template: str
) -> tuple[str, ...]:
    """What a person should know where new rows are written otherwise than the adapter's were.

    tokenizer: with the template of the new rows; template: its name, empty where they have none.
    """
    before, is_completion = trained_template(adapter), not template
    if before.is_completion is not None and before.is_completion is not is_completion:
        return (
            tr(
                "The adapter to go on from was trained without a chat template, and these rows "
                "are written with one."
                if before.is_completion
                else "The adapter to go on from was trained with a chat template, and these rows "
                "are written without one."
            ),
        )
    if is_completion or before.hash in (None, template_hash(templates_of(tokenizer))):
        return ()
    return (
        tr(
            "The adapter to go on from was trained with another chat template than these "
            "rows are written in; dataset.template chooses it."
        ),
    )


def _source_in(adapter: Path) -> str | None:
    try:
        found = templates_in(adapter)
    except UnreadableTemplate:
        return None
    return found if isinstance(found, str) else None
