"""Four ways to start A and B, each really trained: B = 0, A = 0, both zero, both random.

A layer of 16 × 12 numbers learns to be another one, whose difference has rank 2, from 64 inputs:
y = (W + s B A) x, plain gradient descent on half the mean squared error. Small enough to be trained
while a person looks; knows no model and no page.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr

OUT, IN, RANK, INPUTS = 16, 12, 4, 64
ALPHA = 4.0  # so that the scaling is 1
STEPS = 120
MOST_RATE = 2.0
MOST_SEED = 10_000
DIVERGED = 1e3  # so many times the base's loss

StartKind = Literal["b_zero", "a_zero", "both_zero", "both_random"]
STARTS: tuple[StartKind, ...] = get_args(StartKind)


@dataclass(frozen=True)
class TrainedStart:
    """One start and where it led.

    losses: before each step and after the last; shorter where the steps diverged. grad_A, grad_B:
    norms of the first step's gradients. shift: ‖ΔW‖ before the first step.
    """

    kind: StartKind
    losses: tuple[float, ...]
    grad_A: float
    grad_B: float
    shift: float


@dataclass(frozen=True)
class FourStarts:
    """All four, on one problem. steps: asked for. base_loss: without an adapter. starts: in the
    order of STARTS."""

    learning_rate: float
    seed: int
    steps: int
    base_loss: float
    starts: tuple[TrainedStart, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Problem:
    """W (out, in), inputs x (in, n), wanted outputs (out, n)."""

    W: np.ndarray
    x: np.ndarray
    wanted: np.ndarray

    def loss(self, A: np.ndarray, B: np.ndarray) -> float:
        """Half the mean squared error of W + s B A over all outputs."""
        return 0.5 * float((self._error(A, B) ** 2).mean())

    def gradients(self, A: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dL/dA = s Bᵀ G and dL/dB = s G Aᵀ, with G = dL/dW' = error xᵀ / count.

        A (rank, in), B (out, rank). Where B is zero, A's gradient is; where A is, B's.
        """
        G = self._error(A, B) @ self.x.T / self.wanted.size
        scaling = ALPHA / RANK
        return scaling * B.T @ G, scaling * G @ A.T

    def _error(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        return (self.W + ALPHA / RANK * B @ A) @ self.x - self.wanted


def train_four_starts(learning_rate: float = 0.5, seed: int = 0) -> FourStarts:
    """Train all four from the same random numbers for STEPS steps.

    Raises InvalidInput for a learning rate or a seed out of bounds.
    """
    _check(learning_rate, seed)
    problem = make_problem(seed)
    nothing = np.zeros((RANK, IN)), np.zeros((OUT, RANK))
    starts = tuple(_train(problem, kind, learning_rate, seed) for kind in STARTS)
    return FourStarts(learning_rate, seed, STEPS, problem.loss(*nothing), starts)


def make_problem(seed: int) -> Problem:
    """A layer, and what it should be: the same with a difference of rank 2."""
    generator = np.random.default_rng([seed, 1])
    W = generator.normal(size=(OUT, IN)) / np.sqrt(IN)
    difference = generator.normal(size=(OUT, 2)) @ generator.normal(size=(2, IN)) / np.sqrt(IN)
    x = generator.normal(size=(IN, INPUTS))
    return Problem(W, x, (W + difference) @ x)


def start_factors(kind: StartKind, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A (rank, in) and B (out, rank) as `kind` has them; random ones uniform in ±1/√inputs."""
    generator = np.random.default_rng([seed, 2])
    A = generator.uniform(-1, 1, size=(RANK, IN)) / np.sqrt(IN)
    B = generator.uniform(-1, 1, size=(OUT, RANK)) / np.sqrt(RANK)
    if kind in ("a_zero", "both_zero"):
        A = np.zeros_like(A)
    if kind in ("b_zero", "both_zero"):
        B = np.zeros_like(B)
    return A, B


def _train(problem: Problem, kind: StartKind, rate: float, seed: int) -> TrainedStart:
    A, B = start_factors(kind, seed)
    shift = float(np.linalg.norm(ALPHA / RANK * B @ A))
    first = problem.gradients(A, B)
    losses = [problem.loss(A, B)]
    highest = DIVERGED * losses[0]
    for _ in range(STEPS):
        by_A, by_B = problem.gradients(A, B)
        A, B = A - rate * by_A, B - rate * by_B
        loss = problem.loss(A, B)
        if not loss <= highest:
            break
        losses.append(loss)
    grad_A, grad_B = (float(np.linalg.norm(one)) for one in first)
    return TrainedStart(kind, tuple(losses), grad_A, grad_B, shift)


def _check(learning_rate: float, seed: int) -> None:
    problems = []
    if not (isinstance(learning_rate, int | float) and 0 < learning_rate <= MOST_RATE):
        found = f"got {learning_rate!r}, a number above 0 up to {MOST_RATE:g} is allowed"
        problems.append(FieldProblem("learning_rate", found))
    if not (isinstance(seed, int) and 0 <= seed <= MOST_SEED):
        found = f"got {seed!r}, a whole number from 0 to {MOST_SEED:,} is allowed"
        problems.append(FieldProblem("seed", found))
    if problems:
        raise InvalidInput(tr("The four starts"), problems, tr("Correct the fields named."))
