"""The worked example people learn LoRA from: matrices small enough to print.

W (d, k), B (d, rank), A (rank, k) in NumPy; the delta weight, the adapted weight, and one step of
gradient descent on a toy target. It knows no model; training proper lives in `training`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_engine.calculator.matrix_count import integer_problems
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr

MAX_SIDE = 64


@dataclass(frozen=True)
class WorkedExample:
    """One LoRA module written out.

    W (d, k), A (rank, k), B (d, rank), delta_weight = scaling B A (d, k), adapted = W + delta.
    scaling = alpha / rank.
    """

    W: np.ndarray
    A: np.ndarray
    B: np.ndarray
    alpha: float
    scaling: float
    delta_weight: np.ndarray
    adapted: np.ndarray

    def to_json(self) -> dict[str, Any]:
        return {
            "W": self.W.tolist(),
            "A": self.A.tolist(),
            "B": self.B.tolist(),
            "alpha": self.alpha,
            "scaling": self.scaling,
            "delta_weight": self.delta_weight.tolist(),
            "adapted": self.adapted.tolist(),
            "full_parameters": int(self.W.size),
            "lora_parameters": int(self.A.size + self.B.size),
        }


@dataclass(frozen=True)
class GradientStep:
    """One step of gradient descent on 0.5 ||W + s B A - target||_F^2.

    grad_A (rank, k) and grad_B (d, rank) belong to `before`; losses before and after the step.
    """

    before: WorkedExample
    after: WorkedExample
    grad_A: np.ndarray
    grad_B: np.ndarray
    loss_before: float
    loss_after: float

    def to_json(self) -> dict[str, Any]:
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "grad_A": self.grad_A.tolist(),
            "grad_B": self.grad_B.tolist(),
            "loss_before": self.loss_before,
            "loss_after": self.loss_after,
        }


def work_example(W: Any, A: Any, B: Any, alpha: float) -> WorkedExample:
    """Check the three matrices and write the module out: W' = W + (alpha / rank) B A.

    W (d, k), A (rank, k), B (d, rank): anything NumPy reads as a finite matrix, sides at most 64.
    Raises InvalidInput naming each matrix that is not one, or whose shape does not fit the others.
    """
    problems: list[FieldProblem] = []
    W, A, B = (_matrix(name, value, problems) for name, value in (("W", W), ("A", A), ("B", B)))
    if not (isinstance(alpha, int | float) and math.isfinite(alpha) and abs(alpha) <= 1e6):
        problems.append(
            FieldProblem("alpha", tr("got {alpha}, a finite number is allowed", alpha=f"{alpha!r}"))
        )
    if not problems:
        problems = _shape_problems(W, A, B)
    if problems:
        remedy = tr("Give W (d, k), A (rank, k) and B (d, rank) as rows of numbers.")
        raise InvalidInput(tr("The worked example"), problems, remedy)
    scaling = alpha / A.shape[0]
    with np.errstate(over="ignore", invalid="ignore"):
        delta_weight = scaling * (B @ A)
        adapted = W + delta_weight
    if not np.isfinite(adapted).all():
        raise EngineError(
            tr("The product B A is too large for float64."),
            tr("Use smaller numbers in A, B or alpha."),
        )
    return WorkedExample(W, A, B, float(alpha), scaling, delta_weight, adapted)


def start_example(d: int = 5, k: int = 4, rank: int = 2, seed: int = 0) -> WorkedExample:
    """The example before any training, as PEFT starts it: A random, B zero, so W' = W.

    A is drawn uniformly from +-1/sqrt(k), PEFT's kaiming_uniform(a = sqrt 5); alpha = rank.
    """
    generator = np.random.default_rng(seed)
    W = np.round(generator.normal(size=(d, k)), 2)
    A = np.round(generator.uniform(-1, 1, size=(rank, k)) / math.sqrt(k), 2)
    return work_example(W, A, np.zeros((d, rank)), alpha=rank)


def filled_example() -> WorkedExample:
    """The same with small whole numbers in A and B, so that B A can be checked by hand."""
    start = start_example()
    A = [[1, 0, 2, -1], [0, 1, -1, 1]]
    B = [[1, 0], [0, 1], [1, 1], [0, -1], [2, 1]]
    return work_example(start.W, A, B, alpha=2)


def toy_target() -> np.ndarray:
    """Where the steps of the 5 x 4 example lead: its W plus a matrix of rank 2."""
    left = np.array([[1.0, 0], [0, 1], [1, 0], [0, -1], [-1, 1]])
    right = np.array([[1.0, 0, -1, 1], [0, 1, 1, 0]])
    return start_example().W + left @ right


def without_training(example: WorkedExample) -> WorkedExample:
    """`example` with B = 0, as a run starts: W' = W whatever A is."""
    return work_example(example.W, example.A, np.zeros_like(example.B), example.alpha)


def with_rank(example: WorkedExample, rank: int) -> WorkedExample:
    """`example` with more or fewer directions.

    Kept are the first rows of A and columns of B; new rows of A are random, new columns of B
    zero, so that adding a direction changes B A not at all (its scaling alpha / rank it does).
    Raises InvalidInput where rank is not a whole number from 1 to 64.
    """
    problems = integer_problems("rank", rank, 1, MAX_SIDE)
    if problems:
        raise InvalidInput(tr("The worked example"), problems, tr("Correct the field named."))
    (d, k), kept = example.W.shape, min(rank, example.A.shape[0])
    fresh = start_example(d, k, rank)
    A = np.concatenate([example.A[:kept], fresh.A[kept:]])
    B = np.concatenate([example.B[:, :kept], fresh.B[:, kept:]], axis=1)
    return work_example(example.W, A, B, example.alpha)


def lowest_loss(example: WorkedExample, target: Any) -> float:
    """The loss that no update of this rank gets below: half the sum of sigma_i^2 for i > rank.

    sigma: singular values of target - W (Eckart and Young 1936).
    """
    values = np.linalg.svd(np.asarray(target, dtype=np.float64) - example.W, compute_uv=False)
    kept = values[values > values[0] * max(example.W.shape) * np.finfo(np.float64).eps]
    return 0.5 * float((kept[example.A.shape[0] :] ** 2).sum())


def descend(example: WorkedExample, target: Any, learning_rate: float = 0.1) -> GradientStep:
    """Move A and B one step towards W + s B A = target (d, k).

    With E = W' - target (d, k): dL/dA = s B^T E, dL/dB = s E A^T. While B = 0 only B moves.
    Raises InvalidInput if the target is no finite (d, k) matrix or the step diverges.
    """
    problems: list[FieldProblem] = []
    target = _matrix("target", target, problems)
    if not problems and target.shape != example.W.shape:
        found = tr(
            "shape {shape}, the shape of W, {allowed}, is allowed",
            shape=target.shape,
            allowed=example.W.shape,
        )
        problems.append(FieldProblem("target", found))
    if not (isinstance(learning_rate, int | float) and 0 < learning_rate <= 1000):
        found = tr(
            "got {value}, a number above 0 up to 1000 is allowed", value=f"{learning_rate!r}"
        )
        problems.append(FieldProblem("learning_rate", found))
    if problems:
        raise InvalidInput(tr("The step"), problems, tr("Correct the fields named."))
    with np.errstate(over="ignore", invalid="ignore"):  # work_example refuses what overflows
        error = example.adapted - target
        grad_A = example.scaling * example.B.T @ error
        grad_B = example.scaling * error @ example.A.T
        moved_A = example.A - learning_rate * grad_A
        moved_B = example.B - learning_rate * grad_B
    after = work_example(example.W, moved_A, moved_B, example.alpha)
    return GradientStep(
        before=example,
        after=after,
        grad_A=grad_A,
        grad_B=grad_B,
        loss_before=_loss(example, target),
        loss_after=_loss(after, target),
    )


def _loss(example: WorkedExample, target: np.ndarray) -> float:
    return 0.5 * float(((example.adapted - target) ** 2).sum())


def _matrix(name: str, value: Any, problems: list[FieldProblem]) -> np.ndarray:
    """`value` as a float64 matrix; appends what is wrong with it to `problems`."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        problems.append(FieldProblem(name, tr("rows of numbers, all of one length, are allowed")))
        return np.zeros((1, 1))
    if matrix.ndim != 2 or 0 in matrix.shape or max(matrix.shape) > MAX_SIDE:
        found = tr(
            "got shape {shape}, a matrix with sides from 1 to {most} is allowed",
            shape=matrix.shape,
            most=MAX_SIDE,
        )
        problems.append(FieldProblem(name, found))
    elif not np.isfinite(matrix).all():
        problems.append(
            FieldProblem(name, tr("contains NaN or infinity, finite numbers are allowed"))
        )
    return matrix


def _shape_problems(W: np.ndarray, A: np.ndarray, B: np.ndarray) -> list[FieldProblem]:
    (d, k), rank = W.shape, A.shape[0]
    problems = []
    if A.shape[1] != k:
        problems.append(
            FieldProblem("A", tr("got {shape} columns, W has {k}", shape=A.shape[1], k=k))
        )
    if B.shape != (d, rank):
        problems.append(
            FieldProblem(
                "B",
                tr("got shape {shape}, ({d}, {rank}) fits W and A", shape=B.shape, d=d, rank=rank),
            )
        )
    return problems
