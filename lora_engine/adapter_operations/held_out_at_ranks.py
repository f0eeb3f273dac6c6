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

from lora_engine.adapter_operations.losses_beside import losses_beside
from lora_engine.adapter_operations.resize import ResizeReport, ToRank, resize
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.prompts import load_held_out_rows
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

MOST_RANKS = 12
ROWS = 100
WRITING = 0.2  # the share of the work that is not measuring
AS_IT_IS = "as it is"

LoadColumns = Callable[[Mapping[str, Path]], ComparisonModel]
"""Makes a model with these adapters as columns over the adapter's base."""


@dataclass(frozen=True)
class RankLoss:
    """One size: bytes of its weights file, kept energy, held-out loss in nats a token."""

    rank: int
    bytes: int
    energy: float
    loss: float


@dataclass(frozen=True)
class HeldOutAtRanks:
    """Losses on the same rows: of the base, of the adapter as it is, and at each rank."""

    rows: int
    base_loss: float
    loss: float
    ranks: tuple[RankLoss, ...]
    general: Mapping[str, float]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def held_out_at_ranks(
    source: Path,
    ranks: Sequence[int],
    settings: Settings,
    load: LoadColumns,
    *,
    rows: int = ROWS,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> HeldOutAtRanks:
    """The loss of the adapter in `source` at each of `ranks`.

    load: makes the model, so that a base in memory is shared. general: the loss on general
    questions by rank and `as it is`, where the base has some.
    Raises NotFound where the adapter's held-out rows are not known; EngineError for no rank or
    more than `MOST_RANKS`; as `resize`; Stopped.
    """
    chosen = sorted(set(ranks))
    if not 1 <= len(chosen) <= MOST_RANKS:
        raise EngineError(
            f"{len(chosen)} ranks are to be measured; 1 to {MOST_RANKS} are possible.",
            "Choose some of them.",
        )
    load_held_out_rows(source, settings)  # refused before anything is written
    monitor = WorkMonitor(progress, stop)
    with tempfile.TemporaryDirectory(prefix="rankscope-ranks-") as temporary:
        reports = {}
        for number, rank in enumerate(chosen):
            monitor.step(WRITING * number / len(chosen), f"resizing to rank {rank}")
            folder = Path(temporary) / f"rank-{rank}"
            reports[f"rank {rank}"] = resize(source, folder, ToRank(rank), stop=stop)
        model = load({AS_IT_IS: source, **{name: one.path for name, one in reports.items()}})
        measuring = monitor.part(WRITING, 1.0)
        found = losses_beside(
            model, {AS_IT_IS: source}, settings, rows=rows, progress=measuring.step, stop=stop
        )
    by_rows = {one.rows_of: {p.column: p for p in one.pairs} for one in found.measured}
    if AS_IT_IS not in by_rows:
        raise EngineError(
            f"The held-out rows of {source.name} gave no losses: {' '.join(found.notes)}",
            "Look at its rows in Compare.",
        )
    own = by_rows[AS_IT_IS]
    return HeldOutAtRanks(
        rows=own[AS_IT_IS].rows,
        base_loss=own[AS_IT_IS].base_loss,
        loss=own[AS_IT_IS].loss,
        ranks=tuple(_at(rank, reports[name], own[name].loss) for rank, name in _named(chosen)),
        general={name: pair.loss for name, pair in by_rows.get(None, {}).items()},
        notes=found.notes,
    )


def _named(ranks: Sequence[int]) -> list[tuple[int, str]]:
    return [(rank, f"rank {rank}") for rank in ranks]


def _at(rank: int, report: ResizeReport, loss: float) -> RankLoss:
    return RankLoss(rank, report.new_bytes, report.energy, loss)
