"""What an adapter forgot: its loss on general rows that it was not trained for, beside the base's.

The words follow from the 95 % interval of the mean difference (held_out_loss.paired_difference), in
nats a token: 0.05 makes the perplexity 5 % higher, 0.5 makes it 65 % higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from lora_engine.base_models import STARTER, BaseModel, fingerprint, resolve_base_model
from lora_engine.compare.prompts.general_questions import general_rows
from lora_engine.compare.scoring.held_out_loss import PairedDifference
from lora_engine.data import Row, load_dataset
from lora_engine.errors import NotFound
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec

KEPT_NATS = 0.05
FORGOTTEN_NATS = 0.5


class Forgetting(StrEnum):
    """kept: the interval ends below 0.05. forgotten: it begins above 0.5. slightly forgotten: it
    begins above 0. unclear: it reaches from 0 or less to 0.05 or more."""

    KEPT = "kept"
    SLIGHTLY = "slightly forgotten"
    FORGOTTEN = "forgotten"
    UNCLEAR = "unclear, more rows are needed"


def classify_forgetting(pair: PairedDifference) -> Forgetting:
    """A word for the difference in loss."""
    if pair.high < KEPT_NATS:
        return Forgetting.KEPT
    if pair.low > FORGOTTEN_NATS:
        return Forgetting.FORGOTTEN
    return Forgetting.SLIGHTLY if pair.low > 0 else Forgetting.UNCLEAR


def general_rows_for(base: BaseModel, upload: Path | None, settings: Settings) -> Sequence[Row]:
    """The rows of an uploaded file, else the bundled ones for the starter.

    Raises NotFound for another base without a file, EngineError for a file that is wrong.
    """
    if upload is not None:
        return load_dataset(DatasetSpec(source=str(upload)), settings).rows
    starter = resolve_base_model(STARTER, settings)
    if fingerprint(base) != fingerprint(starter):
        raise NotFound(
            tr(
                "There are no general questions for {name}; the bundled ones are for the starter.",
                name=f"{base.name!r}",
            ),
            tr("Upload rows with questions and answers that this base is good at."),
        )
    return general_rows()
