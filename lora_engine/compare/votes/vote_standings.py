"""Who wins blind votes, and how sure that is.

A tie and "both bad" are half a win to each side, as Chatbot Arena counts them (Chiang et al.
2024, arXiv 2403.04132).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_engine.compare.generate.comparison_model import BASE_COLUMN
from lora_engine.compare.votes.bradley_terry import Strength, bradley_terry, score_interval
from lora_engine.compare.votes.vote_store import Ballot, Choice, Contestant

LEFT_SHARE = {Choice.LEFT: 1.0, Choice.RIGHT: 0.0, Choice.TIE: 0.5, Choice.BOTH_BAD: 0.5}


@dataclass(frozen=True)
class Standing:
    """One contestant's votes. win_rate counts ties half; its 95 % interval is `score_interval`'s.

    strength: Bradley and Terry's β against the base (or, without it, the contestant most voted
    on); None where the votes allow no finite one.
    """

    contestant: Contestant
    votes: int
    wins: int
    ties: int
    both_bad: int
    win_rate: float
    low: float
    high: float
    strength: Strength | None


def standings(ballots: Sequence[Ballot]) -> list[Standing]:
    """Every contestant of the voted ballots, the highest win rate first."""
    import numpy as np

    voted = [(ballot, ballot.choice) for ballot in ballots if ballot.choice is not None]
    if not voted:
        return []
    contestants: dict[str, Contestant] = {}
    for ballot, _ in voted:
        for side in (ballot.left, ballot.right):
            contestants[side.contestant.id] = side.contestant
    order = list(contestants)
    wins = np.zeros((len(order), len(order)))  # [row, column]: how often row beat column
    ties = np.zeros_like(wins)  # [row, column]: how often neither did
    for ballot, choice in voted:
        left, right = (order.index(side.contestant.id) for side in (ballot.left, ballot.right))
        wins[left, right] += LEFT_SHARE[choice]
        wins[right, left] += 1 - LEFT_SHARE[choice]
        if LEFT_SHARE[choice] == 0.5:
            ties[left, right] += 1
            ties[right, left] += 1
    votes = (wins + wins.T).sum(1)
    anchor = order.index(BASE_COLUMN) if BASE_COLUMN in order else int(votes.argmax())
    strengths: Sequence[Strength | None] = bradley_terry(wins, anchor, ties) or [None] * len(order)
    found = [
        _standing(contestants[name], voted, strengths[index]) for index, name in enumerate(order)
    ]
    return sorted(found, key=lambda standing: -standing.win_rate)


def _standing(
    contestant: Contestant,
    voted: Sequence[tuple[Ballot, Choice]],
    strength: Strength | None,
) -> Standing:
    mine = [
        (choice, ballot.left.contestant.id == contestant.id)
        for ballot, choice in voted
        if contestant.id in (ballot.left.contestant.id, ballot.right.contestant.id)
    ]
    wins = sum(choice == (Choice.LEFT if left else Choice.RIGHT) for choice, left in mine)
    ties = sum(choice is Choice.TIE for choice, _ in mine)
    both_bad = sum(choice is Choice.BOTH_BAD for choice, _ in mine)
    low, high = score_interval(wins, ties + both_bad, len(mine))
    return Standing(
        contestant=contestant,
        votes=len(mine),
        wins=wins,
        ties=ties,
        both_bad=both_bad,
        win_rate=(wins + (ties + both_bad) / 2) / len(mine),
        low=low,
        high=high,
        strength=strength,
    )
