"""Blind votes: kept once, counted right, and Bradley and Terry's strengths as published."""

import math
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from lora_engine.compare.votes.bradley_terry import bradley_terry, score_interval, win_chance
from lora_engine.compare.votes.vote_standings import standings
from lora_engine.compare.votes.vote_store import Ballot, Choice, Contestant, Side, VoteStore
from lora_engine.errors import Conflict, NotFound

# Agresti, Categorical Data Analysis, table 10.10: wins of the row's team over the column's, 1987.
# Milwaukee, Detroit, Toronto, New York, Boston, Cleveland, Baltimore.
BASEBALL = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ]
)
PUBLISHED = [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0.0]


def test_the_strengths_are_those_agresti_publishes():
    found = bradley_terry(BASEBALL, anchor=6)
    assert [one.value for one in found] == pytest.approx(PUBLISHED, abs=2e-3)
    # the expected wins of everyone are the wins there were: the likelihood's slope is 0
    values = np.array([one.value for one in found])
    chances = 1 / (1 + np.exp(values[None, :] - values[:, None]))
    expected = ((BASEBALL + BASEBALL.T) * chances).sum(1)
    assert expected == pytest.approx(BASEBALL.sum(1), abs=1e-6)


def test_two_contestants_have_the_strength_and_error_of_a_log_odds():
    other, base = bradley_terry([[0, 30], [10, 0]], anchor=1)
    error = math.sqrt(1 / 30 + 1 / 10)
    assert other.value == pytest.approx(math.log(3))
    assert other.high - other.value == pytest.approx(1.959964 * error, rel=1e-5)
    assert win_chance(other.value) == pytest.approx(0.75)
    assert (base.value, base.low, base.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("wins", [[[0, 5], [0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0]]])
def test_where_no_finite_strength_exists_none_is_given(wins):
    assert bradley_terry(wins, anchor=0) is None


def test_without_ties_the_interval_is_wilsons_as_published():
    assert score_interval(0, 0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert score_interval(5, 0, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


@pytest.mark.parametrize(
    ("win", "tie"), [(0.5, 0.0), (0.3, 0.4), (0.2, 0.6), (0.6, 0.3), (0.8, 0.1), (0.45, 0.5)]
)
def test_the_interval_of_40_votes_covers_what_it_says_with_ties(win, tie):
    total, covered = 40, 0.0
    for wins in range(total + 1):
        for ties in range(total - wins + 1):
            losses = total - wins - ties
            ways = math.comb(total, wins) * math.comb(total - wins, ties)
            low, high = score_interval(wins, ties, total)
            if low - 1e-12 <= win + tie / 2 <= high + 1e-12:
                covered += ways * win**wins * tie**ties * (1 - win - tie) ** losses
    assert 0.94 <= covered <= 0.97


def test_ties_narrow_a_strengths_interval_and_not_the_strength():
    wins = [[0, 30], [10, 0]]  # 20 wins, 20 ties, no loss
    tied, plain = (bradley_terry(wins, 1, ties)[0] for ties in ([[0, 20], [20, 0]], None))
    assert tied.value == pytest.approx(plain.value) == pytest.approx(math.log(3))
    # two contestants: SE = sqrt(n (p (1 - p) - t/4)) / (n p (1 - p)), t = 20 / (40 + z²)
    spread = 0.75 * 0.25
    error = math.sqrt(40 * (spread - 20 / (40 + 1.959964**2) / 4)) / (40 * spread)
    assert tied.high - tied.value == pytest.approx(1.959964 * error, rel=1e-5)
    assert tied.high < plain.high


BASE, A = Contestant("base", "Base"), Contestant("aa", "pirate")


def ballot(left: Contestant, right: Contestant, choice: Choice) -> Ballot:
    return Ballot("id", "f", "s", "?", Side(left, "x"), Side(right, "y"), choice)


def test_sides_do_not_matter_and_ties_count_half():
    votes = [
        ballot(A, BASE, Choice.LEFT),
        ballot(BASE, A, Choice.RIGHT),
        ballot(BASE, A, Choice.LEFT),
        ballot(BASE, A, Choice.TIE),
        ballot(A, BASE, Choice.BOTH_BAD),
    ]
    first, second = standings(votes)
    assert (first.contestant, first.votes, first.wins) == (A, 5, 2)
    assert (first.ties, first.both_bad, first.win_rate) == (1, 1, pytest.approx(0.6))
    assert first.strength.value == pytest.approx(math.log(3 / 2))
    assert second.win_rate == pytest.approx(0.4)
    assert second.strength.value == 0.0
    assert standings([]) == []


@pytest.fixture
def store(tmp_path):
    return VoteStore(tmp_path / "votes.db")


def keep(store: VoteStore, prompt_set: str = "mine") -> str:
    return store.add("f", prompt_set, "?", Side(BASE, "x"), Side(A, "y"))


def test_a_vote_is_kept_with_its_names_and_by_prompt_set(store, tmp_path):
    first, second = keep(store), keep(store, "other")
    keep(store)  # never voted on
    assert first != second
    assert store.vote(first, Choice.RIGHT).right.contestant == A
    store.vote(second, Choice.TIE)
    again = VoteStore(tmp_path / "votes.db")
    assert [one.choice for one in again.voted("f")] == [Choice.RIGHT, Choice.TIE]
    assert [one.id for one in again.voted("f", "other")] == [second]
    assert again.voted("another base") == []


def test_one_of_many_clicks_counts(store):
    ballot_id, outcomes = keep(store), []

    def click(choice):
        try:
            outcomes.append(store.vote(ballot_id, choice).choice)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=click, args=(choice,)) for choice in Choice]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = [choice for choice in outcomes if choice]
    assert len(counted) == 1
    assert [one.choice for one in store.voted("f")] == counted


def test_an_unknown_ballot_is_refused_and_nothing_written(store, tmp_path):
    with pytest.raises(NotFound):
        store.vote("' OR 1=1 --", Choice.LEFT)
    with sqlite3.connect(tmp_path / "votes.db") as connection:
        assert connection.execute("SELECT count(*) FROM ballots").fetchone() == (0,)


def test_a_choice_of_a_later_program_hides_no_other_vote(store, tmp_path):
    first, second = keep(store), keep(store)
    for ballot_id in (first, second):
        store.vote(ballot_id, Choice.LEFT)
    with closing(sqlite3.connect(tmp_path / "votes.db")) as later:
        later.execute("UPDATE ballots SET choice = 'maybe' WHERE id = ?", (first,))
        later.commit()
    assert [one.id for one in store.voted("f")] == [second]
