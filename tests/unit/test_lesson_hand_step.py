"""The gradient step by hand: the same gradients and losses as torch's autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lora_engine.errors import InvalidInput
from lora_engine.lesson import hand_step


def drawn(seed: int, d: int, k: int, rank: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {"W": (d, k), "A": (rank, k), "B": (d, rank), "x": (k,), "y": (d,)}
    return {name: random.standard_normal(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("seed", "d", "k", "rank", "alpha"), [(0, 2, 3, 1, 1), (1, 5, 4, 2, 6)])
def test_the_step_is_autograds(seed: int, d: int, k: int, rank: int, alpha: float) -> None:
    given = drawn(seed, d, k, rank)
    W, A, B, x, y = (torch.tensor(given[name]) for name in ("W", "A", "B", "x", "y"))
    A.requires_grad_()
    B.requires_grad_()

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((W @ x + alpha / rank * (b @ (a @ x)) - y) ** 2).sum()

    before = loss(A, B)
    before.backward()
    step = hand_step(**given, alpha=alpha, rates=(0.0, 0.05))

    assert step.loss == pytest.approx(before.item())
    np.testing.assert_allclose(step.grad_A, A.grad)
    np.testing.assert_allclose(step.grad_B, B.grad)
    after = loss(A - 0.05 * A.grad, B - 0.05 * B.grad)
    assert step.moved[0].loss == pytest.approx(before.item())
    assert step.moved[1].loss == pytest.approx(after.item())


def test_while_b_is_zero_only_b_has_a_gradient() -> None:
    given = drawn(2, 3, 3, 1)
    step = hand_step(**{**given, "B": np.zeros((3, 1))}, alpha=1)
    assert not step.grad_A.any()
    assert step.grad_B.any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", [1, 2]), ("x", "abc"), ("y", [[1], [2]]), ("y", [1, float("nan")]), ("B", [[1]])],
)
def test_what_does_not_fit_is_named(name: str, value: object) -> None:
    given = {**drawn(3, 2, 3, 1), name: value}
    with pytest.raises(InvalidInput) as refused:
        hand_step(**given, alpha=1)
    assert [problem.path for problem in refused.value.problems] == [name]
