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
STEPS = 10_000
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Strength:
    """β of one contestant, the anchor's being 0, with a Wald interval of 95 %."""

    value: float
    low: float
    high: float


def bradley_terry(wins: np.ndarray, anchor: int) -> list[Strength] | None:
    """The strength of each contestant, or None where no finite maximum exists.

    wins (contestants, contestants): how often row beat column; a tie is half a win to each. The
    interval is β ± 1.96 · SE, SE² the diagonal of the inverse of the observed information
    Σ_j n_ij p_ij (1 − p_ij) without the anchor's row; with ties it is a little too wide.
    """
    import numpy as np

    wins = np.asarray(wins, dtype=float)
    if len(wins) < 2 or not _all_reach_all(wins > 0):
        return None
    played = wins + wins.T
    logs = np.log(_maximum(wins.sum(1), played))
    logs -= logs[anchor]
    chances = 1 / (1 + np.exp(logs[None, :] - logs[:, None]))
    weights = played * chances * (1 - chances)
    information = np.diag(weights.sum(1)) - weights
    free = [index for index in range(len(wins)) if index != anchor]
    covariance = np.linalg.inv(information[np.ix_(free, free)])
    errors = np.zeros(len(wins))
    errors[free] = np.sqrt(np.diag(covariance))
    return [
        Strength(float(value), float(value - Z_95 * error), float(value + Z_95 * error))
        for value, error in zip(logs, errors, strict=True)
    ]


def win_chance(strength: float) -> float:
    """The chance to beat the anchor: 1 / (1 + exp(−β))."""
    return 1 / (1 + math.exp(-strength))


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """A share's interval of 95 % (Wilson 1927, JASA 22), good for few trials too.

    With p = successes / n: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    """
    share, z2 = successes / trials, Z_95**2
    middle = share + z2 / (2 * trials)
    margin = Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    whole = 1 + z2 / trials
    return max(0.0, (middle - margin) / whole), min(1.0, (middle + margin) / whole)


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
