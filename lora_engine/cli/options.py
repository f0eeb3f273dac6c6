"""What a command says of itself and of its options, in the language that LORA_LANGUAGE names.

`--help` is written when the command line is built, so every text of a signature goes through `tr`:
Typer reads the annotations then, and not when the module is imported. An option that several
commands share is therefore a function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

from lora_engine.language import tr, translatable

BOUNDS = {
    Ge: translatable("from {bound}"),
    Gt: translatable("above {bound}"),
    Le: translatable("to {bound}"),
    Lt: translatable("below {bound}"),
}


def add_commands(app: typer.Typer, *commands: Callable[..., None]) -> None:
    """Each function as a command of its name, whose help is its docstring."""
    for command in commands:
        said = tr(inspect.getdoc(command) or "")
        app.command(help=said, short_help=said.partition("\n\n")[0])(command)


def json_flag() -> Any:
    return typer.Option("--json", help=tr("Print one JSON document."))


def yes_flag() -> Any:
    return typer.Option("--yes", help=tr("Delete without asking."))


def adapter_argument() -> Any:
    return typer.Argument(help=tr("A run's id, a listed name or a folder."))


def one_of(names: Iterable[str]) -> str:
    """The help of an option that takes one of these."""
    return tr("One of {names}.", names=", ".join(names))


def field_help(model: type[BaseModel], name: str) -> str:
    """The description of a field of the spec, followed by its bounds or its choices."""
    info = model.model_fields[name]
    bounds = [
        tr(BOUNDS[type(mark)], bound=f"{getattr(mark, type(mark).__name__.lower()):,}")
        for mark in info.metadata
        if type(mark) in BOUNDS
    ]
    choices = []
    if get_origin(info.annotation) is Literal:
        choices = [str(choice) for choice in get_args(info.annotation)]
    limits = " ".join(bounds) or ", ".join(choices)
    described = tr(info.description or "")
    return tr("{text} ({limits})", text=described, limits=limits) if limits else described
