"""The data folder made ready to be used: there, with its folders, and writable; else in words.

Knows nothing of what lies in it. A list of a newer version is refused by `database`.
"""

from __future__ import annotations

import tempfile

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings


def make_data_folder(settings: Settings) -> None:
    """Make the data folder where it is missing. Raises EngineError where it cannot be used."""
    for folder in (settings.data_dir, settings.runs_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise EngineError(
                tr(
                    "The data folder cannot be used: {folder}: {reason}.",
                    folder=folder,
                    reason=error.strerror or error,
                ),
                tr("Set LORA_DATA_DIR to a folder in which this user may write."),
            ) from error
