"""What the person wants LoRA to adapt: rank, targets and options, checked before PEFT sees them.

Targets are names or shortcuts, never regular expressions: PEFT matches names by their ending, and
a pattern from outside could run for ever. This module knows no model; `targets.py` resolves the
shortcuts against one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lora_engine.calculator.matrix_count import MAX_RANK, integer_problems
from lora_engine.errors import FieldProblem, InvalidInput

ALL_LINEAR = "all-linear"
ATTENTION = "attention"
MLP = "mlp"
EMBEDDINGS = "embeddings"
ROLES = ("q", "k", "v", "o")
SHORTCUTS = (ALL_LINEAR, ATTENTION, MLP, EMBEDDINGS, *ROLES)

MAX_NAMES = 2_000
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z")


@dataclass(frozen=True)
class LoraChoice:
    """One LoRA configuration.

    target_modules: module names (matched by their ending, as PEFT does) and shortcuts:
        `all-linear`, `attention`, `mlp`, `embeddings`, and the roles `q`, `k`, `v`, `o`.
    rank_pattern: module name -> rank, where it differs from `rank`.
    alpha: lora_alpha; None means 2 * rank. It changes the scaling, not the count.
    Raises InvalidInput naming every field that is wrong.
    """

    rank: int = 8
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    alpha: float | None = None
    dropout: float = 0.0
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    use_dora: bool = False
    use_rslora: bool = False
    lora_bias: bool = False
    modules_to_save: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_modules", _as_names(self.target_modules))
        object.__setattr__(self, "modules_to_save", _as_names(self.modules_to_save))
        problems = [
            *integer_problems("rank", self.rank, 1, MAX_RANK),
            *_name_problems("target_modules", self.target_modules, SHORTCUTS),
            *_name_problems("modules_to_save", self.modules_to_save, ()),
            *_pattern_problems(self.rank_pattern),
            *_number_problems("alpha", self.alpha, 0, 1e6),
            *_number_problems("dropout", self.dropout, 0, 1),
        ]
        if not self.target_modules:
            problems.append(FieldProblem("target_modules", "is empty; name at least one module"))
        if problems:
            remedy = "Give names such as q_proj,v_proj, or a shortcut: " + ", ".join(SHORTCUTS)
            raise InvalidInput("The LoRA choice", problems, remedy + ".")
        object.__setattr__(self, "rank_pattern", MappingProxyType(dict(self.rank_pattern)))

    def __hash__(self) -> int:
        return hash((self.rank, self.target_modules, tuple(self.rank_pattern.items())))

    @property
    def lora_alpha(self) -> float:
        return 2 * self.rank if self.alpha is None else self.alpha


def _as_names(given: object) -> tuple[str, ...]:
    """`"q_proj, v_proj"` or a sequence of names, as a tuple without repeats."""
    if given is None:
        return ()
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",") if name.strip()]
    elif not isinstance(given, list | tuple | set | frozenset):
        given = [given]
    return tuple(dict.fromkeys(given))


def _name_problems(path: str, names: tuple, shortcuts: tuple[str, ...]) -> list[FieldProblem]:
    if len(names) > MAX_NAMES:
        return [FieldProblem(path, f"lists {len(names):,} names, {MAX_NAMES:,} are allowed")]
    wrong = [n for n in names if not _is_name(n) and n not in shortcuts]
    allowed = "letters, digits, _ and . are allowed (names, not regular expressions)"
    return [FieldProblem(path, f"got {str(n)[:60]!r}; {allowed}") for n in wrong[:5]]


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= 300 and _NAME.match(name) is not None


def _pattern_problems(pattern: object) -> list[FieldProblem]:
    if not isinstance(pattern, Mapping):
        return [FieldProblem("rank_pattern", "a mapping from module name to rank is allowed")]
    problems = _name_problems("rank_pattern", tuple(pattern), ())
    if problems:
        return problems
    for name, rank in pattern.items():
        problems += integer_problems(f"rank_pattern.{name}", rank, 1, MAX_RANK)
    return problems


def _number_problems(path: str, value: object, low: float, high: float) -> list[FieldProblem]:
    if value is None and path == "alpha":
        return []
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        allowed = f"a number from {low:g} to {high:g} is allowed"
        return [FieldProblem(path, f"got {str(value)[:40]!r}, {allowed}")]
    return []
