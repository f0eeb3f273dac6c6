"""What proposed ranks cost: each is written by `resize` and measured on held-out and general rows.

Measured is the adapter cut to the proposal, not one trained with it, which may do better. Knows
nothing of how the proposals were found.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapter_operations import resize
from lora_engine.advisor.bootstrap import DRAWS, Interval, simultaneous_intervals
from lora_engine.advisor.loss_tables import MOST_ROWS, LoadColumns, LossTable, measure_on
from lora_engine.advisor.rank_proposal import ProposalKind, RankProposals
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.prompts import load_held_out_rows, training_spec_of
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

AS_IT_IS = "as it is"
WRITING = 0.2  # the share of the work that is not measuring


@dataclass(frozen=True)
class ProposalLoss:
    """One proposal written and measured. bytes: of its weights file.

    interval: of its held-out loss minus that of the uniform rank. general_loss: on the general
    questions, with general_interval, of it minus the base's; None where there are no questions.
    """

    kind: ProposalKind
    bytes: int
    eval_loss: float
    interval: Interval
    general_loss: float | None
    general_interval: Interval | None


@dataclass(frozen=True)
class ProposalLosses:
    """The proposals in their order. base_loss, loss: of the base and of the adapter as it is."""

    rows: int
    base_loss: float
    loss: float
    proposals: tuple[ProposalLoss, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "notes": list(self.notes),
            "proposals": [
                {
                    **vars(one),
                    "interval": one.interval.to_json(),
                    "general_interval": one.general_interval and one.general_interval.to_json(),
                }
                for one in self.proposals
            ],
        }


def measure_proposals(
    source: Path,
    proposals: RankProposals,
    settings: Settings,
    load: LoadColumns,
    *,
    rows: int = MOST_ROWS,
    draws: int = DRAWS,
    seed: int = 0,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ProposalLosses:
    """The losses of the adapter in `source` at each of its `proposals`.

    Raises NotFound where its held-out rows are not known; as `resize`; Stopped.
    """
    held_out = load_held_out_rows(source, settings)  # refused before anything is written
    length = training_spec_of(source).optimization.max_length
    monitor = WorkMonitor(progress, stop)
    columns, sizes = {AS_IT_IS: source}, []
    with tempfile.TemporaryDirectory(prefix="rankscope-proposals-") as temporary:
        for number, one in enumerate(proposals.proposals):
            said = tr("writing {proposal}", proposal=one.kind)
            monitor.step(WRITING * number / len(proposals.proposals), said)
            report = resize(source, Path(temporary) / str(number), one.target, stop=stop)
            columns[one.kind] = report.path
            sizes.append(report.new_bytes)
        found = measure_on(
            columns, held_out, length, load, settings, monitor.part(WRITING, 1.0), rows
        )
    table, kinds = found.held_out, [one.kind for one in proposals.proposals]
    against_uniform = _against(table, kinds, table.of([kinds[0]]), draws, seed)
    general: list[tuple[float, Interval] | None] = [None] * len(kinds)
    if found.general is not None:
        other = found.general
        against_base = _against(other, kinds, other.base, draws, seed)
        losses = [other.mean(other.of([kind])) for kind in kinds]
        general = list(zip(losses, against_base, strict=True))
    return ProposalLosses(
        rows=table.rows,
        base_loss=table.mean(table.base),
        loss=table.mean(table.of([AS_IT_IS])),
        proposals=tuple(
            ProposalLoss(
                kind=kind,
                bytes=size,
                eval_loss=table.mean(table.of([kind])),
                interval=interval,
                general_loss=pair and pair[0],
                general_interval=pair and pair[1],
            )
            for kind, size, interval, pair in zip(
                kinds, sizes, against_uniform, general, strict=True
            )
        ),
        notes=found.notes,
    )


def _against(
    table: LossTable, kinds: list[ProposalKind], other: np.ndarray, draws: int, seed: int
) -> list[Interval]:
    differences = np.stack([table.of([kind]) - other for kind in kinds], axis=1)
    return simultaneous_intervals(differences, table.tokens, draws=draws, seed=seed)
