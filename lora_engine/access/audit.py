"""The audit log, `data_dir/audit.jsonl`: who did what, when and from where, one line a deed.

It holds names and no secrets, and at most two files of `MAX_BYTES`. Several processes may write it.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from lora_engine.access.person import person_now
from lora_engine.operating_system import lock
from lora_engine.scrubbing import scrubbed

FILE_NAME = "audit.jsonl"
MAX_BYTES = 5_000_000
MAX_TEXT = 500

logger = logging.getLogger(__name__)


def record(data_dir: Path, action: str, thing: str, person: str = "", address: str = "") -> None:
    """Write down that the person who acts does `action` to `thing`.

    person, address: where they are not those of the present work, as of a failed sign-in. What a
    full disk cannot take is logged: a run must be stoppable all the same.
    """
    actor = person_now()
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "person": (person or actor.name)[:MAX_TEXT],
        "address": (address or actor.address)[:MAX_TEXT],
        "action": action,
        "object": scrubbed(thing[:MAX_TEXT]),
    }
    try:
        _append(
            data_dir / FILE_NAME,
            json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n",
        )
    except OSError as error:
        logger.warning("the audit log cannot be written (%s): %s", error, line)


def _append(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        lock(descriptor)
        if path.exists() and path.stat().st_size + len(line) > MAX_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        log = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            os.write(log, line)
        finally:
            os.close(log)
    finally:
        os.close(descriptor)
