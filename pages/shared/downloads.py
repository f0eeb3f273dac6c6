"""Files that a download button hands out: each in a folder of its own, which Gradio may serve."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def new_file(name: str, text: str) -> str:
    """The path of a new file with this text, whose line ends stay as they are."""
    path = Path(tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR"))) / name
    path.write_text(text, "utf-8", newline="")
    return str(path)
