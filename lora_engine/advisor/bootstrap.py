"""Simultaneous intervals for weighted means of paired differences, by a bootstrap over the rows.

A row's weight is its supervised tokens, so a difference is Σ w d / Σ w, the difference of two
held-out losses as they are reported everywhere else. Each end of an interval is the farther one of

    bootstrap-t    D - s t*, t* = (D* - D) / s* over rows drawn with replacement (Efron 1981; Hall
                   1988): its ends lie apart by how skewed the differences are
    Student's t    D -/+ s t(n - 1): right for normal differences from few rows

with s the standard error of a ratio, √(Σ e² / (n (n - 1))), e = w (d - D) / w̄ (Cochran, Sampling
Techniques, 1977, chapter 6). Either alone covers less than it says, on skewed or on few rows;
benchmarks/intervals.py measures the coverage. Several contrasts share one level of the tails,
chosen so that all their bootstrap intervals hold together (single-step max-t; Beran 1988), and
whatever was compared may then be chosen from the same rows. Knows nothing of models and runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_engine.compare.scoring.held_out_loss import student_quantile
from lora_engine.errors import EngineError
from lora_engine.language import tr

DRAWS = 10_000
CONFIDENCE = 0.95
FEWEST_ROWS = 10  # below, draws of one and the same row decide the tails: Student's t alone
DRAWS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Interval:
    """A weighted mean with the ends that hold it, together with its fellows, at `CONFIDENCE`."""

    mean: float
    low: float
    high: float

    def to_json(self) -> list[float]:
        return [self.low, self.high]


def simultaneous_intervals(
    differences: np.ndarray,
    weights: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Interval]:
    """The interval of each column's weighted mean, all holding together at `confidence`.

    differences: (rows, contrasts); weights: (rows,), above 0. The same seed gives the same
    intervals. Below `FEWEST_ROWS` rows Student's t is used alone, with Bonferroni's correction.
    Raises EngineError for fewer than two rows.
    """
    rows, contrasts = differences.shape
    if rows < 2:
        raise EngineError(
            tr("{rows} row gives no interval; at least 2 are needed.", rows=rows),
            tr("Give more held-out rows."),
        )
    values, shares = np.asarray(differences, np.float64), np.asarray(weights, np.float64)
    shares = shares / shares.mean()
    means = shares @ values / rows
    centred = values - means
    errors = np.sqrt(np.square(shares[:, None] * centred).sum(axis=0) / (rows * (rows - 1)))
    varying = errors > 1e-12 * (np.abs(values).max(axis=0, initial=0.0) + 1e-300)
    low, high = means.copy(), means.copy()
    if varying.any():
        ends = (
            _bootstrap_t(centred[:, varying], shares, confidence, draws, seed)
            if rows >= FEWEST_ROWS
            else _student(rows, contrasts, confidence)
        )
        low[varying] -= errors[varying] * ends[1]
        high[varying] -= errors[varying] * ends[0]
    return [Interval(*map(float, one)) for one in zip(means, low, high, strict=True)]


def pairs_of(count: int) -> list[tuple[int, int]]:
    """Every pair of `count` things, the first before the second."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def pairwise_intervals(
    losses: np.ndarray, weights: np.ndarray, pairs: Sequence[tuple[int, int]], **options: float
) -> list[Interval]:
    """The interval of loss i minus loss j for each pair. losses: (rows, columns)."""
    differences = np.stack([losses[:, i] - losses[:, j] for i, j in pairs], axis=1)
    return simultaneous_intervals(differences, weights, **options)  # type: ignore[arg-type]


def _student(rows: int, contrasts: int, confidence: float) -> tuple[float, float]:
    end = student_quantile(1 - (1 - confidence) / contrasts, rows - 1)
    return -end, end


def _bootstrap_t(
    centred: np.ndarray,
    shares: np.ndarray,
    confidence: float,
    draws: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The low and the high end of t for each contrast, Student's where it is farther out."""
    ratios = _ratios(centred, shares, draws, seed)
    tail = _common_tail(ratios, confidence)
    end = student_quantile(1 - 2 * tail, len(shares) - 1)
    low = np.quantile(ratios, tail, axis=0)
    high = np.quantile(ratios, 1 - tail, axis=0)
    return np.minimum(low, -end), np.maximum(high, end)


def _ratios(centred: np.ndarray, shares: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """t* of every draw, (draws, contrasts), with D = 0 since the differences are centred."""
    rows = len(shares)
    random = np.random.default_rng(seed)
    even = np.full(rows, 1 / rows)
    squared = np.square(shares)[:, None]
    found = []
    for start in range(0, draws, DRAWS_AT_ONCE):
        counts = random.multinomial(rows, even, min(DRAWS_AT_ONCE, draws - start)).astype(float)
        total = (counts @ shares)[:, None]
        means = counts @ (shares[:, None] * centred) / total
        spread = counts @ (squared * np.square(centred))
        spread += means * (means * (counts @ squared) - 2 * (counts @ (squared * centred)))
        errors = np.sqrt(np.maximum(spread, 0.0) / (rows * (rows - 1))) * rows / total
        safe = np.maximum(errors, 1e-9 * np.abs(centred).max(axis=0))
        found.append(means / safe)
    return np.concatenate(found)


def _common_tail(ratios: np.ndarray, confidence: float) -> float:
    """The share to cut off each tail so that a draw has all its ratios inside at `confidence`."""
    draws = len(ratios)
    places = np.argsort(np.argsort(ratios, axis=0), axis=0)  # 0 to draws - 1
    nearest = np.minimum(places + 1, draws - places).min(axis=1) / draws
    tail = float(np.quantile(nearest, 1 - confidence))
    return min(max(tail, 1 / draws), (1 - confidence) / 2)
