"""How many parameters LoRA trains on one weight matrix, from d, k and r alone.

Pure integer arithmetic: imports nothing heavy. It does not know models, see
`count_parameters.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec import MAX_RANK

MAX_DIMENSION = 100_000_000


@dataclass(frozen=True)
class MatrixCount:
    """The parameters of one d x k weight and of its rank-r LoRA factors.

    ratio: lora_parameters / full_parameters; above 1 LoRA costs more than the weight itself.
    reduction: full_parameters / lora_parameters, "so many times fewer".
    break_even_rank: d k / (d + k), the (real) rank at which both cost the same.
    """

    d: int
    k: int
    rank: int
    full_parameters: int
    lora_parameters: int
    ratio: float
    reduction: float
    break_even_rank: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"warnings": list(self.warnings)}


def count_matrix(d: int, k: int, rank: int) -> MatrixCount:
    """Count a weight W (d, k) and LoRA's B (d, rank) and A (rank, k).

    full = d k; LoRA = d r + r k = r (d + k) (Hu et al. 2021, arXiv 2106.09685, section 4.1).
    Raises InvalidInput naming every one of d, k and rank that is not an integer within its bounds.
    A rank above min(d, k) is counted, with a warning.
    """
    problems = [
        *integer_problems("d", d, 1, MAX_DIMENSION),
        *integer_problems("k", k, 1, MAX_DIMENSION),
        *integer_problems("rank", rank, 1, MAX_RANK),
    ]
    if problems:
        raise InvalidInput(tr("The matrix"), problems, tr("Give d, k and rank as whole numbers."))
    full, lora = d * k, rank * (d + k)
    return MatrixCount(
        d=d,
        k=k,
        rank=rank,
        full_parameters=full,
        lora_parameters=lora,
        ratio=lora / full,
        reduction=full / lora,
        break_even_rank=d * k / (d + k),
        warnings=rank_warnings(f"{d} × {k}", d, k, rank),
    )


def integer_problems(path: str, value: object, lowest: int, highest: int) -> list[FieldProblem]:
    """The problems of a number that must be an integer in [lowest, highest]; empty if none."""
    allowed = tr(
        "a whole number from {lowest} to {highest} is allowed",
        lowest=f"{lowest:,}",
        highest=f"{highest:,}",
    )
    if value is None:
        return [FieldProblem(path, tr("is empty; {allowed}", allowed=allowed))]
    if isinstance(value, bool) or not isinstance(value, int):
        return [
            FieldProblem(
                path, tr("got {value}, {allowed}", value=f"{str(value)[:40]!r}", allowed=allowed)
            )
        ]
    if not lowest <= value <= highest:
        return [
            FieldProblem(path, tr("got {value}, {allowed}", value=f"{value:,}", allowed=allowed))
        ]
    return []


def rank_warnings(name: str, d: int, k: int, rank: int) -> tuple[str, ...]:
    """What to tell a person whose rank is so large that low rank has no point any more."""
    break_even = d * k / (d + k)
    if rank > min(d, k):
        above = tr(
            "Rank {rank} is above min(d, k) = {smaller} of {name}: no product B A has a higher "
            "rank than that, and LoRA no longer saves anything here.",
            rank=f"{rank:,}",
            smaller=f"{min(d, k):,}",
            name=name,
        )
        return (above,)
    if rank >= break_even:
        at_least = tr(
            "Rank {rank} is at or above the break-even rank {break_even} of {name}: the two "
            "factors hold at least as many parameters as the weight itself.",
            rank=f"{rank:,}",
            break_even=f"{break_even:,.1f}",
            name=name,
        )
        return (at_least,)
    return ()
