"""How far a merged model's answers are from those of its base with the adapter, in numbers.

    largest logit difference   max |z_merged - z_unmerged|
    KL                         mean over positions of sum p ln(p / q), p unmerged, q merged, in nats

on rows of text, at every position of each. The unmerged side is the base with the adapter beside
it, as Compare answers with it; the merged side is loaded from the written files. One of the two is
in memory at a time. The loss is the mean of -ln p over the supervised tokens, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.base_models import BaseModel
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts import load_held_out_rows
from lora_engine.compare.prompts.general_questions import general_rows
from lora_engine.compare.scoring.log_probabilities import log_probabilities, next_token_logits
from lora_engine.data import Row, TokenizedRow, tokenize_rows
from lora_engine.data.tokenization import IGNORED
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum.progress import WorkMonitor

if TYPE_CHECKING:
    import torch

ROWS = 16
LONGEST = 512  # tokens of a row
MAX_LOGITS = 1 << 27  # numbers kept of the unmerged side: 512 MiB


@dataclass(frozen=True)
class ProofRows:
    """Rows to compare on. source: given, held-out or general; notes say why not the ones before."""

    rows: Sequence[Row]
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MergeProof:
    """What was measured between the merged model and its base with the adapter."""

    max_logit_difference: float
    kl: float
    loss: float


@dataclass(frozen=True, eq=False)
class Unmerged:
    """The base with the adapter: logits (positions, vocabulary) of each row, and both losses.

    rows_from, notes: as `ProofRows` has them.
    """

    rows: tuple[TokenizedRow, ...]
    rows_from: str
    notes: tuple[str, ...]
    logits: tuple[torch.Tensor, ...]
    base_loss: float
    loss: float

    @property
    def positions(self) -> int:
        return sum(len(logits) for logits in self.logits)


def proof_rows(
    adapter: Path, given: Sequence[Row] | None, settings: Settings, limit: int = ROWS
) -> ProofRows:
    """The rows that are given, else those the adapter never saw, else general questions.

    limit: at most so many.
    """
    if given is not None:
        return ProofRows(given[:limit], "given")
    try:
        return ProofRows(load_held_out_rows(adapter, settings)[:limit], "held-out")
    except EngineError as error:
        note = tr("Compared on general questions: {problem}", problem=error.problem)
        return ProofRows(general_rows()[:limit], "general", (note,))


def measure_unmerged(
    shared: SharedBase, adapter: Path, rows: ProofRows, monitor: WorkMonitor
) -> Unmerged:
    """Run base and adapter over the rows. Raises EngineError as Compare does, and for an adapter
    that overflows the model."""
    model = ComparisonModel(shared, {})
    model.add_adapter("adapter", adapter)
    length = min(shared.context_length or LONGEST, LONGEST)
    tokenized = tokenize_rows(rows.rows, model.tokenizer, length)
    kept: list[TokenizedRow] = []
    logits: list[torch.Tensor] = []
    base_losses, losses, numbers = [], [], 0
    with shared.keep_loaded({"base": None, "adapter": adapter}) as keys:
        variants = [AdapterVariant(key) for key in keys.values()]
        for number, row in enumerate(tokenized):
            monitor.step(number / len(tokenized), tr("asking the base with the adapter"))
            of_base, of_adapter = next_token_logits(model, row.input_ids, 1, variants)
            if not of_adapter.isfinite().all():
                raise overflow()
            numbers += of_adapter.numel()
            if kept and numbers > MAX_LOGITS:
                break
            kept.append(row)
            base_losses.append(_token_losses(of_base, row))
            losses.append(_token_losses(of_adapter, row))
            logits.append(of_adapter.cpu())
    return Unmerged(
        tuple(kept), rows.source, rows.notes, tuple(logits), _mean(base_losses), _mean(losses)
    )


def measure_merged(
    folder: Path, name: str, unmerged: Unmerged, settings: Settings, monitor: WorkMonitor
) -> MergeProof:
    """Load a merged model from its files and compare it with the base and the adapter.

    Raises EngineError for one that answers with other than finite numbers.
    """
    import torch

    model = ComparisonModel(SharedBase.load(BaseModel(name, folder), settings), {})
    largest, total, losses = 0.0, 0.0, []
    for number, (row, before) in enumerate(zip(unmerged.rows, unmerged.logits, strict=True)):
        monitor.step(number / len(unmerged.rows), tr("asking the merged model"))
        (after,) = next_token_logits(model, row.input_ids, 1, [AdapterVariant(None)])
        if not after.isfinite().all():
            raise EngineError(
                tr(
                    "The merged model answers with numbers that are not finite, and the base "
                    "with the adapter does not."
                ),
                tr("Merge into float32."),
            )
        losses.append(_token_losses(after, row))
        after = after.cpu()
        largest = max(largest, float((after - before).abs().max()))
        ours, theirs = (z.double().log_softmax(-1) for z in (before, after))
        total += float(torch.sum(ours.exp() * (ours - theirs)))
    return MergeProof(largest, max(0.0, total / unmerged.positions), _mean(losses))


def overflow() -> EngineError:
    """What is said of an adapter whose answers cannot be compared with anything's."""
    return EngineError(
        tr(
            "The base with the adapter answers with numbers that are not finite: the "
            "adapter's factors overflow the model."
        ),
        tr("No form of it answers; train it again with a lower learning rate."),
    )


def _token_losses(logits: torch.Tensor, row: TokenizedRow) -> list[float]:
    """-ln p of each supervised token, from logits that predict the tokens from the second on."""
    scores = log_probabilities(logits, row.input_ids[1:])
    places = [place - 1 for place, label in enumerate(row.labels) if place and label != IGNORED]
    return [-float(score) for score in scores[places]]


def _mean(losses: Sequence[Sequence[float]]) -> float:
    values = [loss for row in losses for loss in row]
    return math.fsum(values) / len(values) if values else math.nan
