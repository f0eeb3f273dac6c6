"""What the adapters page offers without Gradio's events: an adapter as a zip.

A plain GET behind the same guard as everything else. The zip is written to a folder of its own and
removed when it has been sent.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pages.shared.static_files import ROOT

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lora_engine.adapters import AdapterLibrary

PATH = f"{ROOT}/adapter.zip"


def zip_address(adapter: str) -> str:
    """Where an adapter is downloaded as a zip."""
    return f"{PATH}?{urlencode({'adapter': adapter})}"


def add_routes(app: FastAPI, adapters: AdapterLibrary) -> None:
    """Add the download."""
    from pathlib import Path

    from fastapi.responses import FileResponse, JSONResponse, Response
    from starlette.background import BackgroundTask

    from lora_engine.errors import EngineError, NotFound

    @app.get(PATH)
    def adapter_zip(adapter: str = "") -> Response:
        folder = tempfile.TemporaryDirectory(prefix="rankscope-zip-")
        try:
            path = adapters.write_zip(adapter[:500], Path(folder.name))
        except EngineError as error:
            folder.cleanup()
            document = {"problem": error.problem, "remedy": error.remedy}
            return JSONResponse(document, 404 if isinstance(error, NotFound) else 400)
        return FileResponse(
            path, filename=path.name, media_type="application/zip",
            headers={"Cache-Control": "no-store"}, background=BackgroundTask(folder.cleanup),
        )  # fmt: skip
