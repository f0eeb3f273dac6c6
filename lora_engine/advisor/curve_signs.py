"""Two signs in a run's curves, by stated rules: training stalls, or evaluation turns up early.

A sign is a hint about the rank, no proof: a learning rate that is too low stalls as well, and many
epochs turn any rank up. Knows nothing of adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.language import tr
from lora_engine.run_folder import MetricsRow

FEWEST_LOGGED = 8
STALL_FALL = 0.01  # of the loss, from the second quarter of the steps to the third
LEARNED = 0.05  # nats a token; a loss this low has nothing left to fall by
FEWEST_EVALUATIONS = 3
EARLY = 0.6  # of the steps
TURNED_UP = 0.02  # of the best evaluation loss


@dataclass(frozen=True)
class CurveSigns:
    """stalled, turned_early: what the rules say; words: why, and what to do, a sentence each."""

    stalled: bool
    turned_early: bool
    words: tuple[str, ...]


def read_signs(rows: Sequence[MetricsRow]) -> CurveSigns:
    """The signs in a run's rows, in the order of their steps.

    stalled: the mean training loss falls by less than 1 % from the second quarter of the steps to
    the third, where the learning rate is still high, and is above 0.05. turned_early: the lowest
    evaluation loss stands before 60 % of the steps, and the last one is more than 2 % above it.
    """
    stall, turn = _stall(rows), _turn(rows)
    return CurveSigns(bool(stall), bool(turn), tuple(words for words in (stall, turn) if words))


def _stall(rows: Sequence[MetricsRow]) -> str:
    if len(rows) < FEWEST_LOGGED:
        return ""
    end = rows[-1].step
    second = [row.loss for row in rows if end / 4 < row.step <= end / 2]
    third = [row.loss for row in rows if end / 2 < row.step <= 3 * end / 4]
    if not second or not third:
        return ""
    before, after = sum(second) / len(second), sum(third) / len(third)
    if after <= LEARNED or after <= before * (1 - STALL_FALL):
        return ""
    return tr(
        "Training stalled: its loss went from {before} to {after} between the second and the third "
        "quarter of the steps. Raise the rank, or the learning rate.",
        before=f"{before:.4g}",
        after=f"{after:.4g}",
    )


def _turn(rows: Sequence[MetricsRow]) -> str:
    evaluated = [(row.step, row.eval_loss) for row in rows if row.eval_loss is not None]
    if len(evaluated) < FEWEST_EVALUATIONS:
        return ""
    step, best = min(evaluated, key=lambda one: one[1])
    last = evaluated[-1][1]
    if step >= EARLY * rows[-1].step or last <= best + TURNED_UP * abs(best):
        return ""
    return tr(
        "Evaluation turned up early: {best} at step {step}, {last} at the end. Lower the rank, add "
        "dropout, or train for fewer epochs.",
        best=f"{best:.4g}",
        step=f"{step:,}",
        last=f"{last:.4g}",
    )
