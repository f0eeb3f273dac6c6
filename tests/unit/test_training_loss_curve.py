"""The words for curves whose shape is known."""

import pytest

from lora_engine.training.reporting.loss_curve import describe_loss_curve
from tests.metrics_rows import metrics_row


def curve(losses, evaluations=()):
    evaluated = dict(evaluations)
    return [
        metrics_row(step, loss=loss, total_steps=len(losses), eval_loss=evaluated.get(step))
        for step, loss in enumerate(losses, 1)
    ]


@pytest.mark.parametrize(
    ("losses", "evaluations", "words"),
    [
        ([1.0] * 5, (), "Too few"),
        ([3.0 * 0.97**i for i in range(50)], (), "still falling"),
        ([1.0] * 50, (), "levelled off"),
        ([1.0 + 0.02 * i for i in range(50)], (), "rising"),
        ([1.0, 0.7, 1.4, 0.8, 1.1] * 9 + [1.2, 0.9, 1.4, 0.8, 1.2], (), "levelled off"),
        ([3.0 * 0.97**i for i in range(50)], ((10, 2.0), (30, 2.2), (50, 2.5)), "since step 10"),
        ([3.0 * 0.97**i for i in range(50)], ((10, 2.0), (30, 1.8), (50, 1.7)), "still falling"),
    ],
)
def test_the_words_fit_the_curve(losses, evaluations, words):
    assert words in describe_loss_curve(curve(losses, evaluations))


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([0.2 + 0.01 * i for i in range(50)], "risen from 0.245"),
        ([0.8 - 0.01 * i for i in range(50)], "fallen"),
        ([0.5, 0.6, 0.4, 0.5, 0.55] * 10, "stays near"),
    ],
)
def test_a_run_that_learns_from_rewards_is_told_by_them(rewards, words):
    rows = [
        row.model_copy(update={"reward": reward})
        for row, reward in zip(curve([0.0] * len(rewards)), rewards, strict=True)
    ]
    assert words in describe_loss_curve(rows)


def test_rewards_that_never_tell_answers_apart_are_told():
    rows = [
        row.model_copy(update={"reward": 0.0, "equal_groups": 1.0}) for row in curve([0.0] * 50)
    ]
    assert "taught nothing" in describe_loss_curve(rows)
    rows[7] = rows[7].model_copy(update={"equal_groups": 0.5})
    assert "stays near" in describe_loss_curve(rows)


def test_losses_below_zero_rise_upwards_too():
    falling = [3.0 * 0.97**i for i in range(50)]
    words = describe_loss_curve(curve(falling, ((10, -0.9), (30, -0.9), (50, -0.9))))
    assert "still falling" in words
    risen = describe_loss_curve(curve(falling, ((10, -0.9), (30, -0.5), (50, -0.4))))
    assert "since step 10" in risen
