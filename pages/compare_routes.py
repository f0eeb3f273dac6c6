"""What the compare page asks for without Gradio's events: its styles."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import FileResponse

from pages import layout

STYLES = layout.ASSETS / "compare.css"
CACHE_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def head() -> str:
    """The tag for the `head` of a gr.HTML; its address carries the file's version."""
    address = f"{layout.STATIC}/{STYLES.name}?v={layout.version_of(STYLES)}"
    return f'<link rel="stylesheet" href="{address}">'


def add_routes(app: FastAPI) -> None:
    @app.get(f"{layout.STATIC}/{STYLES.name}")
    def compare_styles() -> FileResponse:
        return FileResponse(STYLES, headers=CACHE_FOR_EVER)
