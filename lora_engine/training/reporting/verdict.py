"""A verdict in words from a run's curves. Reads metrics rows, knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

from lora_engine.run_folder import MetricsRow

FEWEST_STEPS = 10
CERTAIN = 2.0  # standard errors by which the means of two stretches must differ
NOTICEABLE = 0.02  # share of the loss by which two stretches must differ to count as different


def verdict(rows: Sequence[MetricsRow]) -> str:
    """Still falling, flat, rising, or memorising since step n; rows in order of their steps."""
    if len(rows) < FEWEST_STEPS:
        return "Too few steps yet to say how it goes."
    turn = _turning_point(rows)
    if turn is not None:
        return (
            f"Evaluation loss has risen since step {turn.step} (from {turn.eval_loss:.3g}) while "
            "training went on: it memorises. Fewer epochs, a lower rank or dropout would help."
        )
    fifth = max(3, len(rows) // 5)
    earlier = [row.loss for row in rows[-2 * fifth : -fifth]]
    lately = [row.loss for row in rows[-fifth:]]
    before, after = fmean(earlier), fmean(lately)
    # Batches differ: what their own spread explains is no trend.
    chance = sqrt((variance(earlier) + variance(lately)) / fifth)
    least = max(NOTICEABLE * before, CERTAIN * chance)
    if after < before - least:
        return f"The training loss is still falling: {before:.3g} to {after:.3g} lately."
    if after > before + least:
        return f"The training loss is rising: {before:.3g} to {after:.3g} lately."
    return f"The training loss has levelled off near {after:.3g}."


def _turning_point(rows: Sequence[MetricsRow]) -> MetricsRow | None:
    """The best evaluation, if at least two later ones are all noticeably worse."""
    evaluated = [row for row in rows if row.eval_loss is not None]
    if len(evaluated) < 3:
        return None
    best = min(evaluated, key=lambda row: row.eval_loss)
    later = evaluated[evaluated.index(best) + 1 :]
    worse = [row for row in later if row.eval_loss > best.eval_loss * (1 + NOTICEABLE)]
    return best if len(later) >= 2 and len(worse) == len(later) else None
