"""What the commands share: printing JSON or lines, asking. Knows no command."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from lora_engine.errors import EngineError
from lora_engine.language import tr


def print_json(document: Any) -> None:
    """One document; numbers that JSON has no word for (NaN, infinity) become null."""
    json.dump(_finite(document), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns aligned with spaces."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for line in (headings, *cells):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def confirm_deletion(what: str, yes: bool) -> None:
    """Ask before something is deleted for good, unless the person said `--yes`.

    Raises EngineError where nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise EngineError(
            tr("This would delete {what} for good.", what=what), tr("Give --yes to do it.")
        )
    typer.confirm(tr("Delete {what} for good?", what=what), abort=True, err=True)


def note(text: str) -> None:
    """Print what is not the answer, for the person, to standard error."""
    typer.echo(text, err=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
