"""Blind votes: two answers without names, a choice, and what all choices say together.

blind_pair.py      draw two columns and answer from one batch
vote_store.py      the ballots, in SQLite
standings.py       who wins, and how sure that is
bradley_terry.py   strengths from paired comparisons, and intervals
"""
