"""The spec of a sweep: what its runs have in common, and the fields in which they differ.

Its children are ordinary runs, one for each combination of the axes' values, each with a spec of
its own. Knows nothing of whether they could train on this machine, nor of how they are run.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator, model_validator

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec.method import MAX_RANK, USED_BY
from lora_engine.spec.parse import REMEDY, field_problems, json_document, spec_from
from lora_engine.spec.run import RunSpec
from lora_engine.spec.section import PrintableName, Section
from lora_engine.spec.ways import WAYS, Way, fields_of_way

MAX_CHILDREN = 200
DEFAULT_RANKS = (4, 8, 16, 32, 64)

RANK, ALPHA = "method.rank", "method.alpha"
LEARNING_RATE, SEED = "optimization.learning_rate", "seed"
METHOD = "method"  # as a whole: the values are ways to fine-tune
FIXED = ("name", "task", "report", "extended_from")  # the same for every child
SHORT_NAMES = {RANK: "r", LEARNING_RATE: "lr ", METHOD: ""}
LONGEST_VALUE = 40
NAMED_RANK = re.compile(r"\s+r(ank)? ?\d+$")


def _variable_paths(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is None or field.default is None:  # null in place of a section is a choice too
            yield prefix + name
        if inner is not None:
            yield from _variable_paths(inner, f"{prefix}{name}.")


def _section_of(annotation: Any) -> type[Section] | None:
    """The section that a field holds, also where it may be null; a list of them is a value."""
    if get_origin(annotation) is list:
        return None
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


VARIABLE_PATHS: tuple[str, ...] = tuple(
    path for path in _variable_paths(RunSpec, "") if path.partition(".")[0] not in FIXED
)
"""Every field that an axis may vary."""


class SweepAxis(Section):
    """One field of the run's spec, and the values that it takes."""

    path: str = Field(
        title="Field",
        description="The field that differs, by its path in the run's spec, such as method.rank; "
        "or method, whose values are ways to fine-tune: lora, qlora, dora, full, freeze, prefix, "
        "prompt, p_tuning, ia3, bottleneck, vera, loha.",
        min_length=1,
        max_length=200,
    )
    values: list[JsonValue] = Field(
        title="Values",
        description="What the field is set to, one after the other.",
        min_length=1,
        max_length=MAX_CHILDREN,
    )

    @field_validator("path")
    @classmethod
    def _can_vary(cls, path: str) -> str:
        if path in VARIABLE_PATHS or path == METHOD:
            return path
        fixed = path.partition(".")[0]
        if fixed in FIXED:
            raise ValueError(
                tr("{fixed} is the same for all runs of a sweep and cannot vary", fixed=fixed)
            )
        raise ValueError(
            tr("a field of the run's spec is needed, such as {like}", like=_like(path))
        )

    @field_validator("values")
    @classmethod
    def _each_once(cls, values: list[JsonValue]) -> list[JsonValue]:
        twice = [value for at, value in enumerate(values) if _same_as_any(value, values[:at])]
        if twice:
            raise ValueError(
                tr("{dumps} stands twice among the values", dumps=json.dumps(twice[0]))
            )
        return values

    @model_validator(mode="after")
    def _known_ways(self) -> SweepAxis:
        unknown = [one for one in self.values if self.path == METHOD and one not in WAYS]
        if unknown:
            raise ValueError(
                tr(
                    "{value_text} is none of {ways}",
                    value_text=value_text(unknown[0]),
                    ways=", ".join(WAYS),
                )
            )
        return self


@dataclass(frozen=True)
class SweepChild:
    """A run of a sweep: the values that it has of the axes, and its spec or what is wrong."""

    name: str
    chosen: Mapping[str, JsonValue]
    spec: RunSpec | InvalidInput


class SweepSpec(Section):
    """Runs that differ in one field or a few: a template, and a grid over some of its fields."""

    name: PrintableName = Field(
        "sweep",
        title="Name",
        description="What you call the sweep; the name of each run begins with it.",
        min_length=1,
        max_length=100,
    )
    run: RunSpec = Field(
        default_factory=RunSpec,
        title="Run",
        description="What the runs have in common. Where the rank varies and alpha does not, "
        "alpha follows: alpha/rank stays what it is here.",
    )
    axes: list[SweepAxis] = Field(
        default_factory=lambda: [SweepAxis(path=RANK, values=list(DEFAULT_RANKS))],
        title="Fields that vary",
        description="A run is made for each combination of their values; the first varies "
        "slowest. At most 200 runs.",
        min_length=1,
    )
    stop_worse: bool = Field(
        False,
        title="Stop what is clearly worse",
        description="Pause a run early when a paired test on the evaluation rows says that it is "
        "worse than another of the sweep. Nothing is deleted, and it can be resumed.",
    )

    @field_validator("axes")
    @classmethod
    def _bounded_grid(cls, axes: list[SweepAxis]) -> list[SweepAxis]:
        paths = [axis.path for axis in axes]
        if twice := [path for at, path in enumerate(paths) if path in paths[:at]]:
            raise ValueError(
                tr("{twice} stands on two axes; give it one, with all its values", twice=twice[0])
            )
        count = math.prod(len(axis.values) for axis in axes)
        if count > MAX_CHILDREN:
            raise ValueError(
                tr(
                    "{count} runs, and at most {max_children} are allowed",
                    count=f"{count:,}",
                    max_children=MAX_CHILDREN,
                )
            )
        return axes

    @model_validator(mode="after")
    def _starts_anew(self) -> SweepSpec:
        if self.run.extended_from is not None:
            raise ValueError(tr("run.extended_from must be null: the runs of a sweep start anew"))
        return self

    def children(self) -> tuple[RunSpec, ...]:
        """The spec of each run, in the order of the grid.

        Raises InvalidInput with the problems of all of them together, each at its path in the
        run's spec.
        """
        found = [child.spec for child in self.each_child()]
        errors = [spec for spec in found if isinstance(spec, InvalidInput)]
        if errors:
            problems = dict.fromkeys(one for error in errors for one in error.problems)
            raise InvalidInput(tr("The sweep"), list(problems), tr(REMEDY))
        return tuple(spec for spec in found if isinstance(spec, RunSpec))

    def each_child(self) -> list[SweepChild]:
        """The runs in the order of the grid, those that can be no run among them."""
        found = []
        for values in itertools.product(*(axis.values for axis in self.axes)):
            document = self._child_document(values)
            chosen = {axis.path: value for axis, value in zip(self.axes, values, strict=True)}
            found.append(SweepChild(document["name"], chosen, self._child(document)))
        return found

    def _child(self, document: dict[str, Any]) -> RunSpec | InvalidInput:
        try:
            child = spec_from(document)
        except InvalidInput as error:
            return error
        problems = list(self._without_effect(child))
        return InvalidInput(child.name, problems, tr(REMEDY)) if problems else child

    def _child_document(self, values: Sequence[JsonValue]) -> dict[str, Any]:
        chosen = {axis.path: value for axis, value in zip(self.axes, values, strict=True)}
        # What the template leaves out is left out here: an adapter to go on from may decide it.
        document = self.run.model_dump(mode="json", exclude_unset=True)
        rank, method = chosen.get(RANK), self.run.method
        if isinstance(rank, int) and 1 <= rank <= MAX_RANK and ALPHA not in chosen:
            _set(document, ALPHA, method.alpha * rank / method.rank)
        way = chosen.get(METHOD)
        of_way = {} if way is None else fields_of_way(cast("Way", way), self.run)
        others = {path: value for path, value in chosen.items() if path != METHOD}
        for path, value in (*of_way.items(), *others.items()):
            _set(document, path, value)
        _set(document, "name", self._child_name(chosen))
        return document

    def _child_name(self, chosen: Mapping[str, JsonValue]) -> str:
        """The sweep's name, and what varies: "pirate r4 · lr 1e-3 · seed 1"."""
        labels = " · ".join(_label(path, value) for path, value in chosen.items())
        return self.name + (" " if next(iter(chosen)) == RANK else " · ") + labels

    def _without_effect(self, child: RunSpec) -> Iterator[FieldProblem]:
        """Axes that would make runs which differ in nothing that trains."""
        kind = child.method.finetuning_type
        for axis in self.axes:
            if axis.path == METHOD:
                continue
            section, _, field = axis.path.partition(".")
            used = ("finetuning_type", *USED_BY.get(kind, (field,)))
            if section == "method" and field not in used:
                yield FieldProblem(axis.path, tr("the method {kind} does not use it", kind=kind))


def sweep_over(
    run: RunSpec,
    ranks: Sequence[JsonValue] = (),
    learning_rates: Sequence[JsonValue] = (),
    seeds: Sequence[JsonValue] = (),
    others: Mapping[str, Sequence[JsonValue]] | None = None,
    stop_worse: bool = False,
) -> SweepSpec:
    """A sweep over ranks × learning rates × seeds × other fields, each that has values.

    Where nothing has any, the ranks are DEFAULT_RANKS. It has the run's name, less a rank at its
    end where the rank or the whole method varies. Raises InvalidInput.
    """
    given = {RANK: ranks, LEARNING_RATE: learning_rates, SEED: seeds}
    axes = [(path, values) for path, values in given.items() if values]
    axes += list((others or {}).items())
    axes = axes or [(RANK, DEFAULT_RANKS)]
    varies_rank = any(path in (RANK, METHOD) for path, _ in axes)
    return sweep_from(
        {
            "name": (NAMED_RANK.sub("", run.name) if varies_rank else run.name)[:100],
            "run": run.model_dump(mode="json", exclude_unset=True),
            "axes": [{"path": path, "values": list(values)} for path, values in axes],
            "stop_worse": stop_worse,
        }
    )


def listed_values(text: str) -> list[JsonValue]:
    """Values separated by commas, as a person types them: JSON where they are, else words."""
    if not text.strip():
        return []
    try:
        return json.loads(f"[{text}]")
    except (ValueError, RecursionError):
        return [_json_or_word(part.strip()) for part in text.split(",")]


def _json_or_word(text: str) -> JsonValue:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def parse_sweep(text: str | bytes) -> SweepSpec:
    """The sweep in a JSON document. Raises InvalidInput naming every problem with its path."""
    return sweep_from(json_document(text, "The sweep"))


def sweep_from(document: Any) -> SweepSpec:
    """The sweep in parsed JSON. Raises InvalidInput as `parse_sweep` does."""
    try:
        return SweepSpec.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(tr("The sweep"), field_problems(error), tr(REMEDY)) from None


def _label(path: str, value: JsonValue) -> str:
    short = SHORT_NAMES.get(path, path.rpartition(".")[2].replace("_", " ") + " ")
    return short + value_text(value)


def value_text(value: JsonValue) -> str:
    """A value of an axis as it stands in a name, shortened from its front."""
    if isinstance(value, float):
        text = f"{Decimal(repr(value)):e}" if value and abs(value) < 0.01 else f"{value:g}"
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = ",".join(map(str, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else "…" + text[1 - LONGEST_VALUE :]


def _set(document: dict[str, Any], path: str, value: Any) -> None:
    """Set what stands at a dotted path, with the sections that lead there."""
    *sections, name = path.split(".")
    for section in sections:
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document = document[section]
    document[name] = value


def _same_as_any(value: JsonValue, others: Sequence[JsonValue]) -> bool:
    """1 and 1.0 are the same value, 1 and true are not."""
    is_flag = isinstance(value, bool)
    return any(value == other and is_flag == isinstance(other, bool) for other in others)


def _like(path: str) -> str:
    """Fields whose name has a word of the path's; else the usual ones."""
    words = set(re.split(r"[._ ]", path.lower()))
    near = [known for known in VARIABLE_PATHS if words & set(known.rpartition(".")[2].split("_"))]
    return ", ".join(near[:8] or [RANK, LEARNING_RATE, SEED])
