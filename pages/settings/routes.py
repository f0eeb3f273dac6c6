"""Where a browser finds the settings, in each language. Who asks is known from the login."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from lora_engine.engine import Engine
from lora_engine.language import LANGUAGES, speaking, tr
from lora_engine.usage import of_bytes
from pages.settings.page import SETTINGS, settings_html
from pages.shared.languages import prefix_of

NO_STORE = {"Cache-Control": "no-store"}


def add_routes(app: FastAPI, engine: Engine, matrix_bytes: Callable[[], int]) -> None:
    """matrix_bytes: what the matrices that are open in this process take in memory."""
    for language in LANGUAGES:
        address = prefix_of(language) + SETTINGS.path
        app.add_api_route(address, _answer(engine, matrix_bytes, language), methods=["GET"])


def _answer(
    engine: Engine, matrix_bytes: Callable[[], int], language: str
) -> Callable[[], HTMLResponse]:
    settings = engine.settings

    def settings_page() -> HTMLResponse:
        with speaking(language):
            title, variable = tr("Open matrices in memory"), "LORA_MAX_MATRICES_MB"
            open_ones = of_bytes(title, matrix_bytes(), settings.max_matrices_mb, variable)
            return HTMLResponse(settings_html(settings, [open_ones]), headers=NO_STORE)

    return settings_page
