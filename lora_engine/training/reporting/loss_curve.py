"""What a run's loss curves show, in words: falling, flat, rising or overfitting.

Reads metrics rows; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

from lora_engine.language import tr
from lora_engine.run_folder import MetricsRow

MIN_STEPS = 10
# Two stretches of the curve differ where their means are apart by both:
STANDARD_ERRORS = 2.0
SHARE_OF_LOSS = 0.02


def describe_loss_curve(rows: Sequence[MetricsRow]) -> str:
    """One sentence about the curves of `rows`, which are in the order of their steps.

    The last fifth of the training losses is compared with the fifth before it; of rewards, with the
    first fifth: a loss of GRPO has no trend.
    """
    if len(rows) < MIN_STEPS:
        return tr("Too few steps yet to say how it goes.")
    rewards = [row.reward for row in rows if row.reward is not None]
    if rewards and all(row.equal_groups == 1 for row in rows):
        return tr(
            "In every step all answers to a question had the same reward, so the rules taught "
            "nothing: raise the temperature, or choose rules that some answers meet and others do "
            "not."
        )
    if rewards:
        return _reward_in_words(rewards)
    overfits_since = _overfitting_start(rows)
    if overfits_since is not None:
        step, eval_loss = overfits_since
        return tr(
            "Evaluation loss has risen since step {step} (from {loss}) while training went on: it "
            "memorises. Fewer epochs, a lower rank or dropout would help.",
            step=step,
            loss=f"{eval_loss:.3g}",
        )
    fifth = max(3, len(rows) // 5)
    earlier = [row.loss for row in rows[-2 * fifth : -fifth]]
    lately = [row.loss for row in rows[-fifth:]]
    before, after = fmean(earlier), fmean(lately)
    # Batches differ in difficulty: a change within their own spread is no trend.
    standard_error = sqrt((variance(earlier) + variance(lately)) / fifth)
    least = max(SHARE_OF_LOSS * before, STANDARD_ERRORS * standard_error)
    if abs(after - before) <= least:
        return tr("The training loss has levelled off near {loss}.", loss=f"{after:.3g}")
    return tr(
        "The training loss is still falling: {before} to {after} lately."
        if after < before
        else "The training loss is rising: {before} to {after} lately.",
        before=f"{before:.3g}",
        after=f"{after:.3g}",
    )


def _reward_in_words(rewards: Sequence[float]) -> str:
    fifth = max(3, len(rewards) // 5)
    first, lately = rewards[:fifth], rewards[-fifth:]
    before, after = fmean(first), fmean(lately)
    standard_error = sqrt((variance(first) + variance(lately)) / fifth)
    if abs(after - before) <= STANDARD_ERRORS * standard_error:
        return tr(
            "The reward stays near {reward}: no change beyond that from step to step.",
            reward=f"{after:.3g}",
        )
    return tr(
        "The reward has risen from {before} to {after}."
        if after > before
        else "The reward has fallen from {before} to {after}.",
        before=f"{before:.3g}",
        after=f"{after:.3g}",
    )


def _overfitting_start(rows: Sequence[MetricsRow]) -> tuple[int, float] | None:
    """Step and loss of the best evaluation, if at least two later ones are all clearly worse."""
    evaluated = [(row.step, row.eval_loss) for row in rows if row.eval_loss is not None]
    if len(evaluated) < 3:
        return None
    best = min(range(len(evaluated)), key=lambda i: evaluated[i][1])
    step, best_loss = evaluated[best]
    later = [loss for _, loss in evaluated[best + 1 :]]
    # A preference's loss, and GRPO's, may lie below 0.
    all_worse = all(loss > best_loss + SHARE_OF_LOSS * abs(best_loss) for loss in later)
    return (step, best_loss) if len(later) >= 2 and all_worse else None
