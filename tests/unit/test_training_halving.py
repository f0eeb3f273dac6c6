"""What is clearly worse by the stated rule: by how much, with which evidence, and how many."""

from __future__ import annotations

import random

import pytest

from lora_engine.training.together.halving import clearly_worse, sign_flip_p


def noisy(count: int, above: float = 0.0, seed: int = 0) -> list[float]:
    """Losses of rows that differ more among each other than the runs do."""
    rows, noise = random.Random(7), random.Random(seed)
    return [rows.uniform(1.0, 4.0) + above + noise.gauss(0.0, 0.05) for _ in range(count)]


def test_what_is_far_above_stops_and_says_why():
    verdicts = clearly_worse(
        {"best": noisy(20), "worse": noisy(20, 1.0, 1), "like": noisy(20, 0, 2)}
    )
    (name,) = verdicts
    found = verdicts[name]
    assert name == "worse"
    assert found.rows == 20
    assert found.p <= found.level == pytest.approx(0.025)
    assert "best r8 at step 5" in found.in_words(5, "best r8")
    assert "20 rows" in found.in_words(5, "best r8")


def test_equal_runs_go_on():
    for seed in range(30):
        runs = {str(i): noisy(30, 0.0, 100 * seed + i) for i in range(6)}
        assert clearly_worse(runs) == {}


def test_a_difference_that_is_sure_and_small_stops_nothing():
    best = noisy(30)
    assert clearly_worse({"best": best, "worse": [loss * 1.01 for loss in best]}) == {}


def test_a_difference_that_is_large_and_unsure_stops_nothing():
    best = [1.0] * 12
    worse = [1.0] * 11 + [9.0]
    assert clearly_worse({"best": best, "worse": worse}) == {}


def test_at_most_half_stop_and_they_are_the_worst():
    runs = {f"r{i}": noisy(20, float(i), i) for i in range(5)}
    assert list(clearly_worse(runs)) == ["r4", "r3"]


@pytest.mark.parametrize("rows", [0, 9])
def test_few_rows_judge_nothing(rows):
    assert clearly_worse({"best": noisy(rows), "worse": noisy(rows, 3.0)}) == {}


def test_a_loss_that_is_no_number_is_no_evidence():
    assert clearly_worse({"best": noisy(20), "broken": [float("nan")] * 20}) == {}


def test_the_p_of_differences_of_one_sign_is_that_of_the_sign_test():
    """Of 2ⁿ sign patterns only one has as large a mean."""
    assert sign_flip_p([0.3] * 10) == pytest.approx(1 / 1024, rel=0.4)
    assert sign_flip_p([-0.3] * 10) == 1.0
    assert sign_flip_p([1.0, -1.0] * 8) > 0.5
