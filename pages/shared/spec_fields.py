"""What the spec says of a field, found by its path: kind, choices, bounds, help, optional section.

Knows pydantic's metadata; knows no component and no value.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lora_engine.language import tr
from lora_engine.spec import MixturePart, RunSpec


def bounds(info: FieldInfo) -> tuple[float | None, float | None]:
    """The lower and the upper bound in a field's metadata, None where there is none."""
    low: Any = None
    high: Any = None
    for mark in info.metadata:
        if isinstance(mark, (Ge, Gt)):
            low = mark.ge if isinstance(mark, Ge) else mark.gt
        if isinstance(mark, (Le, Lt)):
            high = mark.le if isinstance(mark, Le) else mark.lt
    return low, high


def help_text(info: FieldInfo, words: str = "") -> str:
    """The field's description followed by its bounds in words. words: in place of the former."""
    low, high = bounds(info)
    said = tr(words or info.description or "")
    if low is None or high is None:
        return said
    above = any(isinstance(mark, Gt) for mark in info.metadata)
    ends = {"low": _shortest(low), "high": _shortest(high)}
    if above:
        return tr("{said} (above {low}, at most {high})", said=said, **ends)
    return tr("{said} ({low} to {high})", said=said, **ends)


def _shortest(bound: float) -> str:
    """1000.0 -> '1,000'."""
    return f"{bound:,}".removesuffix(".0")


def info_of(root: type[RunSpec], path: str) -> FieldInfo:
    """The field at a dotted path. Raises KeyError for an unknown one."""
    section, _, name = path.rpartition(".")
    return _section_model(root, section).model_fields[name]


def _section_model(root: type[RunSpec], section: str) -> type[BaseModel]:
    """The model of a section; an entry of a list by its place, as in 'objective.rules.0'."""
    model: Any = root
    for name in section.split(".") if section else ():
        if name.isdecimal():
            (model,) = get_args(model)
        else:
            model = kind_of(model.model_fields[name].annotation)[0]
    return model


def title_of(path: str) -> str:
    """What a person calls the field at a dotted path of a spec; for what stands within a field's
    value, the field. The path where there is none."""
    names = path.split(".")
    for end in range(len(names), 0, -1):
        try:
            info = info_of(RunSpec, ".".join(names[:end]))
        except (KeyError, AttributeError, ValueError):  # within a value, which has no fields
            continue
        return tr(info.title) if info.title else path
    return path


def kind_of(annotation: Any) -> tuple[Any, bool]:
    """The annotation without `| None`, and whether that was there."""
    members = list(union_members(annotation))
    some = [member for member in members if member is not type(None)]
    if len(some) == 1:
        return some[0], len(members) > 1
    return annotation, len(members) > len(some)


def listed_choices(kind: Any) -> tuple[Any, ...]:
    """The choices of a list of Literals, none for anything else."""
    (member,) = get_args(kind) if get_origin(kind) is list else (None,)
    return get_args(member) if get_origin(member) is Literal else ()


def lists_sets(info: FieldInfo) -> bool:
    """Whether the field holds a mixture of sets."""
    return info.annotation == list[MixturePart]


def one_a_line(info: FieldInfo) -> bool:
    """Whether each of the field's texts is typed on a line of its own."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("one_a_line"))


def union_members(annotation: Any) -> Iterator[Any]:
    """The members of a union; any other annotation is its own only one."""
    if get_origin(annotation) in (Union, types.UnionType):
        yield from get_args(annotation)
    else:
        yield annotation


def in_optional_section(root: type[RunSpec], path: str) -> bool:
    """Whether the field stands in a section that may be null, or in an entry of a list."""
    section = path.rpartition(".")[0]
    if section.rpartition(".")[2].isdecimal():
        return True
    return bool(section) and kind_of(info_of(root, section).annotation)[1]


def decides(root: type[RunSpec], path: str) -> bool:
    """Whether the field is the first of an optional section: without it the section is null."""
    section, _, name = path.rpartition(".")
    first = next(iter(_section_model(root, section).model_fields))
    return in_optional_section(root, path) and name == first
