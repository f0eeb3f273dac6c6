"""Who reads what of a shared worker's log: each run its own lines, and those about all.

The launcher sends the process's standard error to the first run's `worker.log`. Here the other
runs get theirs. Knows nothing of training.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lora_engine.run_folder import RunDirectory

FORMAT = "%(asctime)s %(levelname)s %(message)s"


class RunLog:
    """The log of one run: `writing` adds it to what the process logs to."""

    def __init__(self, directory: RunDirectory) -> None:
        self._handler: logging.Handler = logging.NullHandler()
        if not _is_standard_error(directory):
            self._handler = logging.FileHandler(directory.log_path, encoding="utf-8", delay=True)
        self._handler.setFormatter(logging.Formatter(FORMAT))

    @contextmanager
    def writing(self) -> Iterator[None]:
        root = logging.getLogger()
        if self._handler in root.handlers:  # the lines are about all runs
            yield
            return
        root.addHandler(self._handler)
        try:
            yield
        finally:
            root.removeHandler(self._handler)

    def close(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()


def _is_standard_error(directory: RunDirectory) -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), directory.log_path.stat())
    except (OSError, ValueError):  # no such file yet, or a standard error that is none
        return False
