"""The worked example's additions: rank, B = 0, and the loss no update of a rank gets below."""

import numpy as np
import pytest

from lora_engine import calculator
from lora_engine.errors import InvalidInput

TARGET = calculator.toy_target()


def test_the_opening_example_can_be_checked_by_hand():
    example = calculator.filled_example()
    assert example.scaling == 1
    expected = [[1, 0, 2, -1], [0, 1, -1, 1], [1, 1, 1, 0], [0, -1, 1, -1], [2, 1, 3, -1]]
    assert example.delta_weight.tolist() == expected
    assert (example.A.size + example.B.size, example.W.size) == (18, 20)


def test_b_zero_is_the_base_model_and_moves_b_alone():
    start = calculator.without_training(calculator.filled_example())
    assert np.array_equal(start.adapted, start.W)
    step = calculator.descend(start, TARGET)
    assert not step.grad_A.any()
    assert step.grad_B.any()


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_descent_reaches_the_lowest_loss_of_its_rank(rank):
    example = calculator.with_rank(calculator.filled_example(), rank)
    example = calculator.work_example(example.W, example.A, example.B, alpha=rank)
    floor = calculator.lowest_loss(example, TARGET)
    for _ in range(3000):
        step = calculator.descend(example, TARGET, 0.05)
        assert step.loss_after >= floor - 1e-9
        example = step.after
    assert step.loss_after == pytest.approx(floor, abs=1e-4)
    assert (floor == 0) == (rank >= 2)


def test_a_new_direction_changes_b_a_not_at_all():
    two = calculator.filled_example()
    three = calculator.with_rank(two, 3)
    assert np.allclose(three.B @ three.A, two.B @ two.A)
    assert np.array_equal(calculator.with_rank(three, 2).A, two.A)
    with pytest.raises(InvalidInput, match="rank"):
        calculator.with_rank(two, 0)
