"""What the adapters page offers without Gradio's events: an adapter, or an export, as a zip.

Plain GETs behind the same guard as everything else. An adapter's zip is written to a folder of its
own and removed when it has been sent; an export's is made while it is sent.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pages.shared.static_files import ROOT

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lora_engine.engine import Engine

PATH = f"{ROOT}/adapter.zip"
EXPORT_PATH = f"{ROOT}/export.zip"


def zip_address(adapter: str) -> str:
    """Where an adapter is downloaded as a zip."""
    return f"{PATH}?{urlencode({'adapter': adapter})}"


def export_zip_address(name: str) -> str:
    """Where an export is downloaded as a zip."""
    return f"{EXPORT_PATH}?{urlencode({'name': name})}"


def add_routes(app: FastAPI, engine: Engine) -> None:
    """Add the downloads."""
    from pathlib import Path

    from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
    from starlette.background import BackgroundTask

    from lora_engine.errors import EngineError, NotFound

    def refused(error: EngineError) -> Response:
        document = {"problem": error.problem, "remedy": error.remedy}
        return JSONResponse(document, 404 if isinstance(error, NotFound) else 400)

    @app.get(PATH)
    def adapter_zip(adapter: str = "") -> Response:
        folder = tempfile.TemporaryDirectory(prefix="rankscope-zip-")
        try:
            path = engine.adapters.write_zip(adapter[:500], Path(folder.name))
        except EngineError as error:
            folder.cleanup()
            return refused(error)
        return FileResponse(
            path, filename=path.name, media_type="application/zip",
            headers={"Cache-Control": "no-store"}, background=BackgroundTask(folder.cleanup),
        )  # fmt: skip

    @app.get(EXPORT_PATH)
    def export_zip(name: str = "") -> Response:
        try:
            blocks = engine.exports.written.zip_blocks(name)
        except EngineError as error:
            return refused(error)
        return StreamingResponse(
            blocks, media_type="application/zip",
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": f'attachment; filename="{name}.zip"',
            },
        )  # fmt: skip
