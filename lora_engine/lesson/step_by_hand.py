"""One step of gradient descent on one example, with every number on the way.

W (d, k), B (d, rank), A (rank, k), x (k), y (d): h = W x + s B A x, e = h - y, L = 1/2 |e|^2. The
gradients are those that autograd computes; W has none, because it is not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_engine.calculator import WorkedExample, work_example
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr

LEARNING_RATES = tuple(round(0.02 * number, 2) for number in range(51))  # 0 to 1


@dataclass(frozen=True)
class Moved:
    """Where a step with this learning rate leads."""

    learning_rate: float
    A: np.ndarray
    B: np.ndarray
    output: np.ndarray
    loss: float

    def to_json(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "A": self.A.tolist(),
            "B": self.B.tolist(),
            "output": self.output.tolist(),
            "loss": self.loss,
        }


@dataclass(frozen=True)
class HandStep:
    """The example before the step, its gradients, and where each learning rate leads.

    inner = A x (rank), output = h (d), error = e (d), grad_A (rank, k), grad_B (d, rank).
    """

    example: WorkedExample
    x: np.ndarray
    y: np.ndarray
    inner: np.ndarray
    output: np.ndarray
    error: np.ndarray
    loss: float
    grad_A: np.ndarray
    grad_B: np.ndarray
    moved: tuple[Moved, ...]

    def to_json(self) -> dict[str, Any]:
        names = ("x", "y", "inner", "output", "error", "grad_A", "grad_B")
        arrays = {name: getattr(self, name).tolist() for name in names}
        matrices = {name: getattr(self.example, name).tolist() for name in ("W", "A", "B")}
        moved = [one.to_json() for one in self.moved]
        return {**matrices, **arrays, "loss": self.loss, "moved": moved}


def hand_step(
    W: Any, A: Any, B: Any, alpha: float, x: Any, y: Any, rates: Sequence[float] = LEARNING_RATES
) -> HandStep:
    """Work the step out: dL/dB = s e (A x)^T, dL/dA = s B^T e x^T.

    Raises InvalidInput where a matrix or vector is none, or does not fit the others.
    """
    example = work_example(W, A, B, alpha)
    d, k = example.W.shape
    problems: list[FieldProblem] = []
    x, y = _vector("x", x, k, problems), _vector("y", y, d, problems)
    if problems:
        raise InvalidInput(tr("The step"), problems, tr("Give x and y as rows of numbers."))
    inner, output = example.A @ x, example.adapted @ x
    error = output - y
    grad_A = example.scaling * np.outer(example.B.T @ error, x)
    grad_B = example.scaling * np.outer(error, inner)

    def moved(rate: float) -> Moved:
        a, b = example.A - rate * grad_A, example.B - rate * grad_B
        there = example.W @ x + example.scaling * (b @ (a @ x))
        return Moved(rate, a, b, there, _loss(there - y))

    steps = tuple(moved(rate) for rate in rates)
    return HandStep(example, x, y, inner, output, error, _loss(error), grad_A, grad_B, steps)


def _loss(error: np.ndarray) -> float:
    return 0.5 * float(error @ error)


def _vector(name: str, value: Any, length: int, problems: list[FieldProblem]) -> np.ndarray:
    """`value` as a finite vector of this length; appends what is wrong with it to `problems`."""
    try:
        vector = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.array(np.nan)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        problems.append(
            FieldProblem(name, tr("{length} finite numbers are allowed", length=length))
        )
    return vector
