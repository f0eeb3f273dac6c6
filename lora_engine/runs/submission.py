"""Putting new runs where they belong: a directory with the spec for each, then the list.

Of several runs all are queued or none, and whatever was written before a failure is removed.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lora_engine.access import forget_owner, keep_owner
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers import refuse_unconfigured
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec


def new_id() -> str:
    """Date and time for people to read, and 40 random bits so that nobody can guess it."""
    return time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(5)


def queue_runs(
    runs: Mapping[str, RunSpec], store: RunStore, settings: Settings, sweep: str | None = None
) -> None:
    """Queue new runs by their ids, in this order. Raises EngineError; nothing is left then."""
    for spec in runs.values():
        refuse_unconfigured(spec, settings)
    directories = {run_id: RunDirectory(settings.runs_dir / run_id) for run_id in runs}
    with undone_on_failure([directory.path for directory in directories.values()]):
        for run_id, spec in runs.items():
            directories[run_id].create(spec)
            keep_owner(directories[run_id].path)
        store.add_all(runs, sweep)


@contextmanager
def undone_on_failure(folders: Sequence[Path]) -> Iterator[None]:
    """Remove these folders, which are made inside, when what is done there fails.

    An OSError becomes an EngineError that says where the disk refused.
    """
    try:
        yield
    except (OSError, EngineError) as error:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            forget_owner(folder)
        if isinstance(error, EngineError):
            raise
        raise EngineError(
            tr(
                "The run cannot be written to {parent}: {strerror}.",
                parent=folders[0].parent,
                strerror=error.strerror,
            ),
            tr("Free some space there, or see that it can be written to; then start it again."),
        ) from error
