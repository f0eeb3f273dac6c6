"""Trials: adapters that are written to be heard before they are kept. They are in no list.

A trial is a folder of `data_dir/trials` that its path opens, and it is gone when a few newer ones
are there. Knows nothing of what is written into it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_engine.access import keep_owner
from lora_engine.adapters.names import name_from
from lora_engine.settings import Settings

KEPT = 4  # as many as Compare's columns and one


def trial_folder(settings: Settings, name: str) -> Path:
    """A new folder's path for a trial called `name`; the oldest trials are removed."""
    trials = settings.data_dir / "trials"
    trials.mkdir(parents=True, exist_ok=True)
    before = sorted(trials.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in before[KEPT - 1 :]:
        shutil.rmtree(old)
    path = trials / uuid.uuid4().hex[:8] / name_from(name)
    keep_owner(path)
    return path


@contextmanager
def new_trial(settings: Settings, name: str) -> Iterator[Path]:
    """`trial_folder`'s path to write; after an error nothing is left of the trial."""
    path = trial_folder(settings, name)
    try:
        yield path
    except BaseException:
        shutil.rmtree(path.parent, ignore_errors=True)
        raise
