"""What the compare page offers without Gradio's events: saved comparisons as files.

Plain GET routes behind the same guard as everything else. A comparison is named by its id, which
cannot be guessed.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from lora_engine.compare.sessions import SessionStore, as_markdown
from lora_engine.errors import EngineError, NotFound
from pages.shared.static_files import ROOT

NOT_KEPT = {"Cache-Control": "no-store"}
TYPES = {"md": "text/markdown; charset=utf-8", "json": "application/json"}


def export_address(session_id: str, ending: str) -> str:
    """Where a saved comparison is exported; `ending` is `md` or `json`."""
    return f"{ROOT}/comparison/{session_id}.{ending}"


def add_routes(app: FastAPI, sessions: SessionStore) -> None:
    """Add the two exports of a saved comparison."""

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
