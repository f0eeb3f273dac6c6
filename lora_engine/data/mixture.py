"""Which rows of several sets are evaluated, and which make an epoch, by weight.

A set's share of an epoch is its weight divided by the sum of weights; an epoch has as many training
rows as all sets together. A set with fewer rows than its share is repeated whole as often as it
goes, and a seeded choice of it fills the rest; of one with more, a seeded choice is trained on, the
same in every epoch. Evaluation rows are drawn before anything is repeated, of each set its
fraction, and twins stay on one side whichever sets they are in.

Rows are places here, counted through all sets; this module knows nothing of what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_engine.data.rows import SetPart
from lora_engine.data.seeded_order import sampled

if TYPE_CHECKING:
    import numpy as np


def evaluated_places(
    parts: Sequence[SetPart], group_of: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """The places (n,) of the evaluation rows, in order; empty where none can be drawn.

    group_of: (rows,) a number for each row, the same for twins. The evaluation set's rows, where
    there is one; else of each set round(rows · fraction) rows in whole groups, at most as many as
    leave one to train on. Where no group fits, the smallest one that leaves each set a row.
    """
    import numpy as np

    own = [part for part in parts if part.is_evaluation]
    if own:
        return np.concatenate([np.arange(part.start, part.end) for part in own])
    if fraction == 0.0:
        return np.zeros(0, np.int64)
    wanted = [min(part.rows - 1, max(1, round(part.rows * fraction))) for part in parts]
    groups = _Groups(parts, group_of)
    left, drawn = list(wanted), []
    for group in sampled(groups.count, groups.count, f"{seed} evaluated").tolist():
        if not any(left):
            break
        if groups.fits(group, left):
            drawn.append(groups.places(group))
    if not drawn:
        spare = [part.rows - 1 for part in parts]
        by_size = sorted(range(groups.count), key=lambda group: len(groups.places(group)))
        drawn = [groups.places(group) for group in by_size if groups.fits(group, spare)][:1]
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def epoch_places(parts: Sequence[SetPart], evaluated: np.ndarray, seed: int) -> np.ndarray:
    """The places (n,) of one epoch's rows, set after set, a repeated row once for each time."""
    import numpy as np

    held_out = np.zeros(max(part.end for part in parts), bool)
    held_out[evaluated] = True
    trained = [part for part in parts if not part.is_evaluation]
    own = [part.start + np.flatnonzero(~held_out[part.start : part.end]) for part in trained]
    shares = shares_of([len(places) for places in own], [part.weight for part in trained])
    return np.concatenate(
        [
            _as_many(places, share, f"{seed} mixed {number}")
            for number, (places, share) in enumerate(zip(own, shares, strict=True))
        ]
    )


def shares_of(counts: Sequence[int], weights: Sequence[float]) -> list[int]:
    """How many rows of an epoch come from each set: Σ counts, parted by weight, largest remainders
    rounded up."""
    total, whole = sum(counts), sum(weights)
    exact = [total * weight / whole for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda at: (shares[at] - exact[at], at))
    for at in by_remainder[: total - sum(shares)]:
        shares[at] += 1
    return shares


def _as_many(places: np.ndarray, share: int, seed: str) -> np.ndarray:
    """`share` of these places: each as often as all of them fit, and a choice of them for the
    rest."""
    import numpy as np

    passes, rest = divmod(share, len(places))
    chosen = places[np.sort(sampled(len(places), rest, seed))]
    return np.concatenate([np.tile(places, passes), chosen])


class _Groups:
    """Groups of twins: where their rows stand, and how many of them are in each set."""

    def __init__(self, parts: Sequence[SetPart], group_of: np.ndarray) -> None:
        import numpy as np

        self._order = np.argsort(group_of, kind="stable")
        self._ends = np.cumsum(np.bincount(group_of))
        self._part_of = np.repeat(np.arange(len(parts)), [part.rows for part in parts])

    @property
    def count(self) -> int:
        return len(self._ends)

    def places(self, group: int) -> np.ndarray:
        start = self._ends[group - 1] if group else 0
        return self._order[start : self._ends[group]]

    def fits(self, group: int, left: list[int]) -> bool:
        """Whether each set has room for its rows of the group; the room is then taken."""
        sets = self._part_of[self.places(group)].tolist()
        needed = {number: sets.count(number) for number in {*sets}}
        if any(left[number] < rows for number, rows in needed.items()):
            return False
        for number, rows in needed.items():
            left[number] -= rows
        return True
