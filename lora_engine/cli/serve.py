"""The command that serves the dashboard. Knows where `app.py` is, and nothing of its pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import lora_engine
from lora_engine.errors import NotFound

APP = Path(lora_engine.__file__).parents[1] / "app.py"  # beside the package, installed or not


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="0 takes any free port.", show_default="7860"),
    ] = None,
) -> None:
    """Serve the dashboard until it is interrupted. HOST and PORT are read where no option is given.

    The engine knows no screen, so this process becomes that of `app.py`.
    """
    if not APP.is_file():
        raise NotFound(f"There is no dashboard at {APP}.", "Install the whole of Rankscope.")
    if host is not None:
        os.environ["HOST"] = host
    if port is not None:
        os.environ["PORT"] = str(port)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(APP)])
