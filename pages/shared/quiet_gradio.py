"""Gradio kept quiet: it calls nobody, fetches nothing, and puts its files where they are swept.

Does not import gradio: `quiet_environment` must run before gradio is imported.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

UPLOADS_KEPT_S = 86_400

QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def quiet_environment(data_dir: Path) -> None:
    """Switch off every call that gradio or the hub client makes of its own accord.

    Call it before gradio is imported. Uploads and Gradio's copies go under `data_dir`; those of
    an earlier day are removed (an upload that was cut off leaves its part behind).
    """
    temporary = data_dir / "gradio"
    temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(temporary, older_than_s=UPLOADS_KEPT_S)
    os.environ.update(QUIET)
    os.environ["GRADIO_TEMP_DIR"] = str(temporary)


def _sweep(folder: Path, older_than_s: float) -> None:
    """Remove old files under `folder`, and the folders that are empty then."""
    before = time.time() - older_than_s
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside comes first
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.lstat().st_mtime < before:
            path.unlink()


def refuse_outside_downloads() -> None:
    """Make Gradio refuse a file given as a URL, which it would otherwise fetch itself."""
    from gradio import processing_utils

    processing_utils.async_ssrf_protected_download = _no_download


async def _no_download(url: str, cache_dir: str) -> str:
    from gradio.exceptions import InvalidPathError

    raise InvalidPathError(
        f"Files are not fetched from the network, and {url[:200]!r} is one. Upload the file."
    )
