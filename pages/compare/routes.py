"""What the compare page asks for without Gradio's events: its styles, and kept comparisons.

Plain GET routes behind the same guard as everything else. A comparison is named by its id, which
cannot be guessed.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response

from lora_engine.compare.sessions.markdown import as_markdown
from lora_engine.compare.sessions.session_store import SessionStore
from lora_engine.errors import EngineError, NotFound
from pages.shared import layout

STATIC_FILES = Path(__file__).parent / "static"
STYLES = STATIC_FILES / "compare.css"
CACHE_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
NOT_KEPT = {"Cache-Control": "no-store"}
TYPES = {"md": "text/markdown; charset=utf-8", "json": "application/json"}


def head() -> str:
    """The tag for the `head` of a gr.HTML; its address carries the file's version."""
    address = f"{layout.STATIC}/{STYLES.name}?v={layout.version_of(STYLES)}"
    return f'<link rel="stylesheet" href="{address}">'


def export_address(session_id: str, ending: str) -> str:
    """Where a kept comparison is exported; `ending` is `md` or `json`."""
    return f"{layout.STATIC}/comparison/{session_id}.{ending}"


def add_routes(app: FastAPI, sessions: SessionStore) -> None:
    @app.get(f"{layout.STATIC}/{STYLES.name}")
    def compare_styles() -> FileResponse:
        return FileResponse(STYLES, headers=CACHE_FOR_EVER)

    @app.get(export_address("{session_id}", "md"))
    def comparison_markdown(session_id: str) -> Response:
        return _exported(sessions, session_id, "md")

    @app.get(export_address("{session_id}", "json"))
    def comparison_json(session_id: str) -> Response:
        return _exported(sessions, session_id, "json")


def _exported(sessions: SessionStore, session_id: str, ending: str) -> Response:
    try:
        session = sessions.load(session_id)
    except EngineError as error:
        status = 404 if isinstance(error, NotFound) else 400
        document = {"problem": error.problem, "remedy": error.remedy}
        return JSONResponse(document, status, headers=NOT_KEPT)
    text = as_markdown(session) if ending == "md" else session.as_json()
    disposition = f'attachment; filename="comparison.{ending}"'
    headers = {**NOT_KEPT, "Content-Disposition": disposition}
    return Response(text, media_type=TYPES[ending], headers=headers)
