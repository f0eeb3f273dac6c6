"""Do the judgement's intervals hold the truth as often as they say? By simulation.

    python benchmarks/intervals.py [--json] [--rows 50] [--trials 1000] [--draws 1000]

For each kind of differences (normal; exponential; lognormal with sigma 0.5 and 1), with rows of one
length and with lengths that differ: how often the interval of lora_engine/advisor/bootstrap.py at
95 % holds the true weighted mean; beside it Student's t and the plain percentile bootstrap. Then,
for five ranks that share their rows, how often all ten pairwise intervals hold at once, in a
quarter of the trials. The default takes about a minute on one core; `--trials 10000 --draws 2000`
has a standard error of 0.2 %. Progress goes to standard error.

A row's difference and its length are drawn independently, so the true weighted mean is the mean.
Must reach: 93 to 97 % at 50 rows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import _path  # noqa: F401
import numpy as np

from lora_engine.advisor.bootstrap import pairs_of, pairwise_intervals, simultaneous_intervals
from lora_engine.compare.scoring.held_out_loss import student_quantile

LOWEST, HIGHEST = 0.93, 0.97
Draw = Callable[[np.random.Generator, int], np.ndarray]
KINDS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda random, n: random.normal(0.0, 1.0, n), 0.0),
    "exponential": (lambda random, n: random.exponential(1.0, n), 1.0),
    "lognormal 0.5": (lambda random, n: random.lognormal(0.0, 0.5, n), math.exp(0.125)),
    "lognormal 1": (lambda random, n: random.lognormal(0.0, 1.0, n), math.exp(0.5)),
}


@dataclass(frozen=True)
class Coverage:
    """Shares of trials in which each interval held the truth. reached: ours within the bounds."""

    differences: str
    lengths: str
    rows: int
    ours: float
    student: float
    percentile: float
    reached: bool


def coverage(
    kind: str, rows: int, varied: bool, trials: int, draws: int, seed: int = 0
) -> Coverage:
    """One contrast. varied: whether the rows' lengths differ (1 to 60 tokens)."""
    random = np.random.default_rng(seed)
    draw, truth = KINDS[kind]
    t = student_quantile(0.95, rows - 1)
    held = np.zeros(3)
    for trial in range(trials):
        values = draw(random, rows)
        weights = random.integers(1, 61, rows).astype(float) if varied else np.ones(rows)
        ours = simultaneous_intervals(values[:, None], weights, draws=draws, seed=trial)[0]
        share = weights / weights.mean()
        error = math.sqrt(
            float(np.square(share * (values - ours.mean)).sum()) / (rows * (rows - 1))
        )
        low, high = _percentile(values, weights, draws, random)
        held += [
            ours.low <= truth <= ours.high,
            abs(ours.mean - truth) <= t * error,
            low <= truth <= high,
        ]
    ours_share, student, percentile = (held / trials).tolist()
    return Coverage(
        kind,
        "1 to 60 tokens" if varied else "one length",
        rows,
        ours_share,
        student,
        percentile,
        LOWEST <= ours_share <= HIGHEST,
    )


def _percentile(
    values: np.ndarray, weights: np.ndarray, draws: int, random: np.random.Generator
) -> tuple[float, float]:
    rows = len(values)
    counts = random.multinomial(rows, np.full(rows, 1 / rows), draws)
    means = counts @ (weights * values) / (counts @ weights)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def joint_coverage(kind: str, rows: int, ranks: int, trials: int, draws: int) -> float:
    """How often the intervals of all pairs of `ranks` columns hold at once.

    The losses of a row share its difficulty, and each column adds its own draw to it.
    """
    random = np.random.default_rng(1)
    draw, _ = KINDS[kind]
    pairs = pairs_of(ranks)
    held = 0
    for trial in range(trials):
        losses = random.gamma(2.0, 1.0, rows)[:, None] + np.stack(
            [draw(random, rows) for _ in range(ranks)], axis=1
        )
        found = pairwise_intervals(losses, np.ones(rows), pairs, draws=draws, seed=trial)
        held += all(one.low <= 0.0 <= one.high for one in found)
    return held / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    started = time.perf_counter()
    rows, trials, draws = options.rows, options.trials, options.draws
    single = []
    for kind in KINDS:
        for varied in (False, True):
            single.append(coverage(kind, rows, varied, trials, draws))
            _report_progress(started, f"{kind}, {single[-1].lengths}")
    together, joint_trials = {}, max(1, trials // 4)
    for kind in ("normal", "lognormal 1"):
        together[kind] = joint_coverage(kind, rows, 5, joint_trials, draws)
        _report_progress(started, f"{kind}, five ranks")
    document = {
        "bounds": [LOWEST, HIGHEST],
        "trials": trials,
        "joint_trials": joint_trials,
        "draws": draws,
        "coverage": [asdict(one) for one in single],
        "ten_pairs_of_five_ranks": together,
        "reached": all(one.reached for one in single),
        "elapsed_s": time.perf_counter() - started,
    }
    if options.json:
        print(json.dumps(document, indent=1))
        return
    print(f"{rows} rows, {trials:,} trials of {draws:,} draws; {joint_trials:,} for five ranks")
    for one in single:
        print(
            f"{one.differences:14s} {one.lengths:15s} ours {one.ours:.1%}  Student "
            f"{one.student:.1%}  percentile {one.percentile:.1%}"
        )
    for kind, share in together.items():
        print(f"{kind}: all ten pairs of five ranks at once {share:.1%}")


def _report_progress(started: float, done: str) -> None:
    print(f"{time.perf_counter() - started:4.0f} s: {done} done", file=sys.stderr)


if __name__ == "__main__":
    main()
