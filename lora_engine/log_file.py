"""The log of a server: warnings and errors, in a file of the data folder and on the terminal."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler

from lora_engine.data_folder import make_data_folder
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.scrubbing import ScrubbedFormatter
from lora_engine.settings import Settings

MAX_BYTES = 10_000_000


def write_log(settings: Settings) -> None:
    """Log warnings and errors to `data_dir/rankscope.log` and to the terminal.

    Raises EngineError where the folder or the file cannot be written.
    """
    make_data_folder(settings)
    path = settings.data_dir / "rankscope.log"
    try:
        file = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=2, encoding="utf-8")
    except OSError as error:
        raise EngineError(
            tr("The log {path} cannot be written: {reason}.", path=path, reason=error.strerror),
            tr("Move away what stands there, then start again."),
        ) from error
    handlers: list[logging.Handler] = [file, logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(ScrubbedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=handlers)
