"""Writes docs/spec.md from the spec's own fields: `python docs/make_spec.py`.

A test compares the page with what this makes, so the page cannot fall behind.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from annotated_types import Ge, Gt, Le, Lt  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from lora_engine.spec import RunSpec  # noqa: E402

INTRODUCTION = """# The spec of a run

One JSON document says everything about a run. Every field has a default, so `{}` is a spec: the
pirate example. Unknown keys, wrong types and crossed bounds are reported together, each with its
path. The same spec, seed and machine give the same loss curve.

This page is made from the fields themselves by `python docs/make_spec.py`.

```
python -m lora_engine train spec.json
```
"""


def page() -> str:
    """The whole page as Markdown."""
    sections = [INTRODUCTION, _table("Top level", RunSpec)]
    return "\n".join([*sections, *_tables(RunSpec, "")])


def _tables(model: type[BaseModel], path: str) -> Iterator[str]:
    """A table for each section of a model, and for the sections in it."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            here = f"{path}{name}[]" if _is_listed(field) else f"{path}{name}"
            yield _table(f"`{here}`", section)
            yield from _tables(section, f"{here}.")


def _table(title: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(field)} | {_bounds(field)} | "
        f"{field.description} |"
        for name, field in model.model_fields.items()
        if _section(field.annotation) is None or _is_listed(field)
    ]
    head = "| field | kind | default | allowed | meaning |\n|---|---|---|---|---|"
    return f"## {title}\n\n{head}\n" + "\n".join(rows) + "\n"


def _is_listed(field: FieldInfo) -> bool:
    """Whether the field is a list of sections."""
    return get_origin(field.annotation) is list and _section(field.annotation) is not None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, or a list of such."""
    is_list = get_origin(annotation) is list
    for member in get_args(annotation) if is_list else _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member
    return None


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        yield from get_args(annotation)
    else:
        yield annotation


def _kind(field: FieldInfo) -> str:
    return " or ".join(word for member in _members(field.annotation) for word in _words(member))


def _words(kind: Any) -> list[str]:
    """A type in words: its name, or each of a Literal's choices."""
    origin = get_origin(kind)
    if kind is type(None):
        return ["null"]
    if origin is Literal:
        return [f"`{choice}`" for choice in get_args(kind)]
    plain = {str: "text", int: "integer", float: "number", bool: "true or false"}
    if origin is list and _section(kind) is not None:
        return ["list of objects"]
    return [{list: "list of names", dict: "object"}.get(origin) or plain[kind]]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    return f"`{json.dumps(field.get_default(call_default_factory=True))}`"


def _bounds(field: FieldInfo) -> str:
    words = []
    for mark in field.metadata:
        for kind, sign in ((Ge, "≥"), (Gt, ">"), (Le, "≤"), (Lt, "<")):
            if isinstance(mark, kind):
                words.append(f"{sign} {getattr(mark, kind.__name__.lower()):,}")
    return ", ".join(words) or "–"


if __name__ == "__main__":
    (ROOT / "docs" / "spec.md").write_text(page(), "utf-8")
