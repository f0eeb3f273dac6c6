"""The loss that an adapter would have at smaller ranks, on its own held-out rows.

Energy says how much of the update is kept; this says whether that part mattered. Each size is
written into a temporary folder as `resize` writes it, and all are columns over one base.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapter_operations.losses_beside import LossesBeside, losses_beside
from lora_engine.adapter_operations.resize import ResizeReport, ToRank, resize
from lora_engine.adapter_operations.source_adapter import open_source
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.prompts import load_held_out_rows
from lora_engine.compare.scoring import PairedDifference
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

MOST_RANKS = 12
USUAL_RANKS = 8
ROWS = 100
WRITING = 0.2  # the share of the work that is not measuring
AS_IT_IS = "as it is"

LoadColumns = Callable[[Mapping[str, Path]], ComparisonModel]
"""Makes a model with these adapters as columns over the adapter's base."""


@dataclass(frozen=True)
class RankLoss:
    """One size: bytes of its weights file, kept energy, held-out loss in nats a token.

    change: of the loss, against the adapter as it is. general_loss: on general questions, where
    the base has some.
    """

    rank: int
    bytes: int
    energy: float
    loss: float
    change: float
    general_loss: float | None


@dataclass(frozen=True)
class HeldOutAtRanks:
    """Losses on the same rows: of the base, of the adapter as it is, and at each rank.

    general_loss: of the adapter as it is on general questions, where the base has some.
    """

    rows: int
    base_loss: float
    loss: float
    ranks: tuple[RankLoss, ...]
    general_loss: float | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def usual_ranks(rank: int) -> list[int]:
    """The powers of two up to an adapter's rank, the largest `USUAL_RANKS` of them."""
    return [2**power for power in range(rank.bit_length())][-USUAL_RANKS:]


def held_out_at_ranks(
    source: Path,
    ranks: Sequence[int] | None,
    settings: Settings,
    load: LoadColumns,
    *,
    rows: int = ROWS,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> HeldOutAtRanks:
    """The loss of the adapter in `source` at each of `ranks`.

    ranks: None takes the `usual_ranks` up to its largest module's.
    load: makes the model, so that a base in memory is shared.
    Raises NotFound where the adapter's held-out rows are not known; EngineError for no rank or
    more than `MOST_RANKS`; as `resize`; Stopped.
    """
    if ranks is None:
        ranks = usual_ranks(max(open_source(source).stored.ranks.values()))
    chosen = sorted(set(ranks))
    if not 1 <= len(chosen) <= MOST_RANKS:
        raise EngineError(
            tr(
                "{count} ranks are to be measured; 1 to {most_ranks} are possible.",
                count=len(chosen),
                most_ranks=MOST_RANKS,
            ),
            tr("Choose some of them."),
        )
    load_held_out_rows(source, settings)  # refused before anything is written
    monitor = WorkMonitor(progress, stop)
    with tempfile.TemporaryDirectory(prefix="rankscope-ranks-") as temporary:
        reports = _resized(source, chosen, Path(temporary), monitor.part(0.0, WRITING))
        resized = {_column(rank): one.path for rank, one in reports.items()}
        model = load({AS_IT_IS: source, **resized})
        measuring = monitor.part(WRITING, 1.0)
        found = losses_beside(
            model, {AS_IT_IS: source}, settings, rows=rows, progress=measuring.step, stop=stop
        )
    return _at_ranks(source, reports, found)


def _resized(
    source: Path, ranks: Sequence[int], folder: Path, monitor: WorkMonitor
) -> dict[int, ResizeReport]:
    """The adapter written at each rank, below `folder`."""
    reports = {}
    for number, rank in enumerate(ranks):
        monitor.step(number / len(ranks), tr("resizing to rank {rank}", rank=rank))
        reports[rank] = resize(source, folder / f"rank-{rank}", ToRank(rank), stop=monitor.stop)
    return reports


def _at_ranks(
    source: Path, reports: Mapping[int, ResizeReport], found: LossesBeside
) -> HeldOutAtRanks:
    by_rows = {one.rows_of: {pair.column: pair for pair in one.pairs} for one in found.measured}
    if AS_IT_IS not in by_rows:
        raise EngineError(
            tr(
                "The held-out rows of {name} gave no losses: {notes}",
                name=source.name,
                notes=" ".join(found.notes),
            ),
            tr("Look at its rows in Compare."),
        )
    own, general = by_rows[AS_IT_IS], by_rows.get(None, {})
    as_it_is = own[AS_IT_IS]
    ranks = tuple(
        RankLoss(
            rank=rank,
            bytes=report.new_bytes,
            energy=report.energy,
            loss=own[_column(rank)].loss,
            change=own[_column(rank)].loss - as_it_is.loss,
            general_loss=_loss_in(general, _column(rank)),
        )
        for rank, report in reports.items()
    )
    return HeldOutAtRanks(
        rows=as_it_is.rows,
        base_loss=as_it_is.base_loss,
        loss=as_it_is.loss,
        ranks=ranks,
        general_loss=_loss_in(general, AS_IT_IS),
        notes=found.notes,
    )


def _column(rank: int) -> str:
    return f"rank {rank}"


def _loss_in(pairs: Mapping[str, PairedDifference], column: str) -> float | None:
    return pairs[column].loss if column in pairs else None
