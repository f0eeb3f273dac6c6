"""Uploads on their way: whether there is room for one, and its end once it has been read.

Gradio keeps each upload for a day. Here one that is cut off, refused or broken is deleted at once,
and so is one that has been read for good. Knows nothing of what the files mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lora_engine.errors import EngineError, NotFound
from lora_engine.language import tr
from lora_engine.quotas import refuse_waiting_uploads
from lora_engine.settings import Settings
from pages.shared.languages import without_prefix
from pages.shared.security import UPLOAD_PATHS


class UploadRoom:
    """ASGI middleware: an upload is refused before it is read where too many lie here unread."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and without_prefix(scope["path"]) in UPLOAD_PATHS:
            length = Headers(scope=scope).get("content-length", "")
            size = int(length) if length.isascii() and length.isdigit() else 0
            try:
                await run_sync(refuse_waiting_uploads, size, self.settings)
            except EngineError as error:
                await PlainTextResponse(f"{error}\n", 413)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def delete_what_is_cut_off() -> None:
    """Make Gradio delete the parts of an upload that is cut off or refused on its way."""
    from gradio import route_utils

    if getattr(route_utils.GradioMultiPartParser, "deletes_what_is_cut_off", False):
        return

    class Parser(route_utils.GradioMultiPartParser):
        deletes_what_is_cut_off = True

        async def parse(self) -> Any:
            try:
                return await super().parse()
            except BaseException:
                for part in self._files_to_close_on_error:
                    part.close()
                    Path(part.name).unlink(missing_ok=True)
                raise

    route_utils.GradioMultiPartParser = Parser  # type: ignore[misc]


@contextmanager
def once_read(path: str) -> Iterator[Path]:
    """The upload, for the block that reads it; deleted afterwards, read or refused."""
    file = Path(path)
    if not file.is_file():
        raise NotFound(tr("The upload {name} is not here any more.", name=file.name),
                       tr("Upload it again."))  # fmt: skip
    try:
        yield file
    finally:
        _delete(file)


@contextmanager
def unless_refused(path: str | Path | None) -> Iterator[None]:
    """Delete the upload where the block that reads it refuses it; None for no upload."""
    try:
        yield
    except EngineError:
        if path is not None:
            _delete(Path(path))
        raise


def _delete(file: Path) -> None:
    """Delete a file that lies among the uploads, and its folder; any other stays."""
    uploads = os.environ.get("GRADIO_TEMP_DIR")
    if not uploads or not file.resolve().is_relative_to(Path(uploads).resolve()):
        return
    file.unlink(missing_ok=True)
    if file.parent != Path(uploads) and not any(file.parent.iterdir()):
        file.parent.rmdir()
