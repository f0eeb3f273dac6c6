"""Blind votes: two answers without names, a choice, and what all choices say together.

blind_pair.py      draw two columns and answer from one batch
vote_store.py      the ballots, in SQLite
vote_standings.py  who wins, and how sure that is
bradley_terry.py   strengths from paired comparisons, and intervals
"""

from lora_engine.compare.votes.blind_pair import LEFT, RIGHT, answer_pair, contestant, draw_pair
from lora_engine.compare.votes.bradley_terry import win_chance
from lora_engine.compare.votes.vote_standings import Standing, standings
from lora_engine.compare.votes.vote_store import Choice, Side

__all__ = [
    "LEFT",
    "RIGHT",
    "Choice",
    "Side",
    "Standing",
    "answer_pair",
    "contestant",
    "draw_pair",
    "standings",
    "win_chance",
]
