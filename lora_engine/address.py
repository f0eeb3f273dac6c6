"""The address that the dashboard is served on: as it is given, as a socket, as a browser's link."""

from __future__ import annotations

import os
import socket
from typing import Literal

from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
MAX_PORT = 65_535


def address_help(option: Literal["host", "port"]) -> str:
    """What `app.py` and `rankscope serve` say of their option."""
    if option == "host":
        return tr(
            "The address to listen on: else HOST of the environment, else {host}.",
            host=DEFAULT_HOST,
        )
    return tr(
        "Its port; 0 takes any free one: else PORT of the environment, else {port}.",
        port=DEFAULT_PORT,
    )


def chosen_address(host: str | None, port: str | None) -> tuple[str, int]:
    """Host and port: what the command line gave, else HOST and PORT, else the usual ones.

    Raises InvalidInput for a port that is none.
    """
    chosen_host = host or os.environ.get("HOST") or DEFAULT_HOST
    if port is not None:
        return chosen_host, _port("--port", port)
    return chosen_host, _port("PORT", os.environ.get("PORT") or str(DEFAULT_PORT))


def _port(source: str, text: str) -> int:
    """source: where it was given, for the error."""
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= MAX_PORT:
        return int(text)
    problem = FieldProblem(
        source, tr("got {text}, a number from 0 to 65,535 is allowed", text=f"{text[:100]!r}")
    )
    raise InvalidInput(
        tr("The address"), [problem], tr("Correct {source} or leave it out.", source=source)
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to host and port. Raises EngineError where that fails."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise EngineError(
            tr(
                "Nothing can be served on {host}:{port} ({strerror}).",
                host=host,
                port=port,
                strerror=error.strerror or error,
            ),
            tr("Stop what is using it, or choose another with --port or --host."),
        ) from None


def link_to(host: str, port: int) -> str:
    """What a browser of this machine opens."""
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
