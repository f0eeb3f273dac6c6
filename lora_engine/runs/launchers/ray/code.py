"""This program as the zip archive that a job runs: the engine alone, without pages and tests.

The same code gives the same bytes, so a cluster is sent it once.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[3]
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def code_archive() -> tuple[str, bytes]:
    """A name that changes with the content, and the archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(ENGINE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                entry = zipfile.ZipInfo(str(path.relative_to(ENGINE.parent)), LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    made = content.getvalue()
    return f"rankscope_{hashlib.sha256(made).hexdigest()[:16]}.zip", made
