"""The command that serves the dashboard. Knows where `app.py` is, and nothing of its pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import lora_engine
from lora_engine.address import MAX_PORT, address_help
from lora_engine.base_models import resolve_base_model
from lora_engine.cli.options import add_commands
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, NotFound
from lora_engine.language import tr
from lora_engine.serve.api_key import read_api_key
from lora_engine.settings import environment_names

APP = Path(lora_engine.__file__).parents[1] / "app.py"  # beside the package, installed or not


def register(app: typer.Typer) -> None:
    add_commands(app, serve)


def serve(
    host: Annotated[str | None, typer.Option(help=address_help("host"), show_default=False)] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_PORT, help=address_help("port"), show_default=False),
    ] = None,
    api: Annotated[
        bool, typer.Option("--api", help=tr("Serve the OpenAI-compatible /v1 too. It needs a key."))
    ] = False,
    api_key_file: Annotated[
        Path | None, typer.Option(help=tr("The file with the API's key."), show_default=False)
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help=tr("The base model that the API serves."), show_default="starter"),
    ] = None,
) -> None:
    """Serve the dashboard until it is interrupted, and with --api an OpenAI-compatible endpoint.

    LORA_API_KEY_FILE is read where no option is given.
    """
    if not APP.is_file():
        raise NotFound(
            tr("There is no dashboard at {app}.", app=APP), tr("Install the whole of Rankscope.")
        )
    _set_up_api(api, api_key_file, base)
    address = {"--host": host, "--port": port}
    given = [f"{name}={value}" for name, value in address.items() if value is not None]
    sys.stdout.flush()
    # The engine knows no screen, so this process becomes that of the dashboard.
    os.execv(sys.executable, [sys.executable, str(APP), *given])


def _set_up_api(api: bool, key_file: Path | None, base: str | None) -> None:
    """Hand the API's options on in the environment of the process that follows."""
    if not api and (key_file is not None or base is not None):
        given = "--api-key-file" if key_file is not None else "--base"
        raise EngineError(
            tr("{given} is of the API, which is off.", given=given),
            tr("Add --api, or leave it out."),
        )
    names = environment_names()
    if key_file is not None:
        os.environ[names["api_key_file"]] = str(key_file)
    if base is not None:
        os.environ[names["api_base"]] = base
    if not api:
        return
    settings = load_settings()
    if settings.api_key_file is None:
        raise EngineError(
            tr("--api needs a key, and none is given."),
            tr("Add --api-key-file FILE, or set {names}.", names=names["api_key_file"]),
        )
    read_api_key(settings.api_key_file)
    resolve_base_model(settings.api_base, settings)
