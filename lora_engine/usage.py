"""What is used of each quota, and where things lie: what the doctor and the settings page show.

Looks, and changes nothing. Knows nothing of how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.access import person_now
from lora_engine.access.audit import FILE_NAME as AUDIT_LOG
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.quotas import (
    ADAPTERS,
    DATASETS,
    MEGABYTE,
    has_share,
    megabytes,
    share_used,
    tree_bytes,
    uploads_folder,
)
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings


@dataclass(frozen=True)
class Usage:
    """What is used of one quota, in the present language.

    variable: the environment variable that sets it. problem: why it cannot be told, or "".
    """

    title: str
    used: str
    most: str
    variable: str
    is_full: bool = False
    problem: str = ""


def quotas_used(settings: Settings) -> list[Usage]:
    """What is used of each quota of this data folder, and of the share of the person who acts."""
    used = [
        of_bytes(
            tr("Uploaded datasets"),
            DATASETS.used(settings),
            settings.max_datasets_mb,
            "LORA_MAX_DATASETS_MB",
        ),
        of_bytes(
            tr("Added adapters"),
            ADAPTERS.used(settings),
            settings.max_adapters_mb,
            "LORA_MAX_ADAPTERS_MB",
        ),
        of_bytes(
            tr("Uploads that nobody has read"),
            tree_bytes(uploads_folder(settings)),
            settings.max_waiting_uploads_mb,
            "LORA_MAX_WAITING_UPLOADS_MB",
        ),
        of_bytes(
            tr("Rows and tokens kept for the next run"),
            tree_bytes(settings.token_cache_dir),
            settings.max_cache_mb,
            "LORA_MAX_CACHE_MB",
        ),
        *_queue(settings),
    ]
    if has_share():
        own = share_used(person_now().name, settings)
        title = tr("Your datasets and adapters")
        used.append(of_bytes(title, own, settings.max_person_mb, "LORA_MAX_PERSON_MB"))
    return used


def of_bytes(title: str, used: int, most_mb: int, variable: str) -> Usage:
    """A quota of bytes; most_mb: what is allowed, in MB of 10^6 bytes."""
    most = most_mb * MEGABYTE
    return Usage(title, megabytes(used), megabytes(most), variable, used > most)


def _queue(settings: Settings) -> list[Usage]:
    title = tr("Runs that wait")
    try:
        waiting = _waiting(settings)
    except EngineError as error:
        return [Usage(title, "", "", "LORA_MAX_QUEUED", problem=error.problem)]
    used = [_of_count(title, sum(waiting.values()), settings.max_queued, "LORA_MAX_QUEUED")]
    if has_share():
        own, most = waiting.get(person_now().name, 0), settings.max_queued_per_person
        used.append(_of_count(tr("Your runs that wait"), own, most, "LORA_MAX_QUEUED_PER_PERSON"))
    return used


def _waiting(settings: Settings) -> Mapping[str, int]:
    if not settings.database_path.exists():
        return {}
    return RunStore(settings.database_path).waiting()


def _of_count(title: str, used: int, most: int, variable: str) -> Usage:
    return Usage(title, f"{used:,}", f"{most:,}", variable, used >= most)


def places(settings: Settings) -> list[tuple[str, Path]]:
    """Where things lie, each with its name in the present language."""
    data = settings.data_dir
    return [
        (tr("Data folder"), data),
        (tr("Models"), settings.models_dir),
        (tr("Runs"), settings.runs_dir),
        (tr("List of runs"), settings.database_path),
        (tr("Sweeps"), settings.sweeps_dir),
        (tr("Datasets"), DATASETS.path(settings)),
        (tr("Adapters"), ADAPTERS.path(settings)),
        (tr("Kept comparisons"), data / "sessions"),
        (tr("Uploads that are being read"), uploads_folder(settings)),
        (tr("Rows and tokens that are kept"), settings.token_cache_dir),
        (tr("Log"), data / "rankscope.log"),
        (tr("Who did what"), data / AUDIT_LOG),
    ]
