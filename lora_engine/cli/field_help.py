"""The help of an option from the field of a spec that it sets: its words, bounds and choices."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

WORDS = {Ge: "from", Gt: "above", Le: "to", Lt: "below"}


def field_help(model: type[BaseModel], name: str) -> str:
    """The description of a field, followed by its bounds or its choices."""
    info = model.model_fields[name]
    bounds = [
        f"{WORDS[type(mark)]} {getattr(mark, type(mark).__name__.lower()):,}"
        for mark in info.metadata
        if type(mark) in WORDS
    ]
    choices = []
    if get_origin(info.annotation) is Literal:
        choices = [str(choice) for choice in get_args(info.annotation)]
    limits = " ".join(bounds) or ", ".join(choices)
    return f"{info.description} ({limits})" if limits else info.description or ""
