"""Deleting a run: remove it from the list, move its folder away in one rename, then empty that.

A run that waits, is active, or whose worker still lives is never deleted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_engine.access import forget_owner
from lora_engine.errors import Conflict, Unreadable
from lora_engine.files import move
from lora_engine.language import tr, translatable
from lora_engine.run_folder import RunDirectory, RunLock, try_lock
from lora_engine.runs.launchers import forgetting_elsewhere
from lora_engine.runs.states import state_name
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings

CANCEL_FIRST = translatable("Cancel it first, then delete it.")


def delete_run(run_id: str, store: RunStore, settings: Settings) -> None:
    """Delete a run with all that it made. Raises NotFound, Conflict where it is not over."""
    record = store.get(run_id)
    folder = settings.runs_dir / record.id
    lock = _lock_of(folder) if folder.is_dir() and not folder.is_symlink() else None
    if lock is None and folder.is_dir() and not folder.is_symlink():
        raise Conflict(
            tr(
                "Run {run_id} still has a worker; only a run that is over can be deleted.",
                run_id=run_id,
            ),
            tr(CANCEL_FIRST),
        )
    try:
        forget_elsewhere = forgetting_elsewhere(RunDirectory(folder), settings)
        # Nobody can start it while the lock is held, so what the list says stays true.
        if not store.remove(run_id):
            raise Conflict(
                tr(
                    "Run {run_id} is {state}; only a run that is over can be deleted.",
                    run_id=run_id,
                    state=state_name(record.state),
                ),
                tr(CANCEL_FIRST),
            )
        _remove_folder(settings, record.id)
        forget_elsewhere()
    finally:
        if lock is not None:
            lock.close()


def _lock_of(folder: Path) -> RunLock | None:
    """The run's lock; None where a worker holds it. Raises Unreadable."""
    try:
        return try_lock(RunDirectory(folder))
    except OSError as error:
        raise Unreadable(
            tr(
                "{path} cannot be opened: {reason}, so nobody knows whether the run has a worker.",
                path=folder / "lock",
                reason=error.strerror,
            ),
            tr("Make sure that nothing trains there, and remove what lies in its place."),
        ) from error


def _remove_folder(settings: Settings, run_id: str) -> None:
    """One rename takes the folder away whole; a crash later leaves it only among the deleted."""
    folder, deleted = settings.runs_dir / run_id, settings.data_dir / "deleted"
    deleted.mkdir(exist_ok=True)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        move(folder, deleted / run_id)
    forget_owner(folder)
    for leftover in deleted.iterdir():
        shutil.rmtree(leftover, ignore_errors=True)
