"""A run's metrics as a figure needs them: a bounded number of rows, however long the file.

A short file is read whole, and what has been added since when it is read again. A long one is cut
into equal stretches of bytes, and each gives its first row and its first evaluation, so a million
rows cost what a thousand do. Knows nothing of what is drawn.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lora_engine.files import parse_row
from lora_engine.run_folder import MetricsRow, RunDirectory

POINTS = 1000
READ_WHOLE_BYTES = 1_000_000  # a few thousand rows
FILES_KEPT = 4  # each takes up to ten megabytes
LINE_BYTES = 16_384  # a row is a few hundred; what is longer is none
EVALUATED = b'"eval_loss": '


@dataclass
class _Kept:
    """What is read of a short file. file: its number on the disk; end: behind its last line."""

    file: int
    end: int = 0
    by_step: dict[int, MetricsRow] = field(default_factory=dict)

    def go_on(self, path: Path) -> None:
        """Read the whole lines that have been added. The later row of a step counts."""
        with path.open("rb") as file:
            file.seek(self.end)
            content = file.read(READ_WHOLE_BYTES)
        lines = content[: content.rfind(b"\n") + 1]
        self.end += len(lines)
        for line in lines.splitlines():
            row = parse_row(line, MetricsRow)
            if row is not None:
                self.by_step[row.step] = row


class Curves:
    """The curves of runs that are watched: what was read of the last few files is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def read(self, directory: RunDirectory, points: int = POINTS) -> list[MetricsRow]:
        """As `read_curve`."""
        path = directory.metrics_path
        if not path.is_file():
            return []
        status = path.stat()
        if status.st_size > READ_WHOLE_BYTES:
            rows = _sampled(directory, points)
        else:
            with self._lock:
                rows = list(self._read_on(path, status).by_step.values())
        rows.sort(key=lambda row: row.step)
        return _thinned(rows, points)

    def _read_on(self, path: Path, status: os.stat_result) -> _Kept:
        kept = self._kept.pop(path, None)
        if kept is None or kept.file != status.st_ino or kept.end > status.st_size:
            kept = _Kept(status.st_ino)
        kept.go_on(path)
        self._kept[path] = kept
        while len(self._kept) > FILES_KEPT:
            self._kept.popitem(last=False)
        return kept


def read_curve(directory: RunDirectory, points: int = POINTS) -> list[MetricsRow]:
    """At most about two rows a point, in the order of their steps, always with the last row."""
    return Curves().read(directory, points)


def _sampled(directory: RunDirectory, points: int) -> list[MetricsRow]:
    with directory.metrics_path.open("rb") as file:
        lines = list(_lines(file, points))
    last = directory.last_metrics()
    found = [row for line in lines if (row := parse_row(line, MetricsRow)) is not None]
    by_step = {row.step: row for row in sorted(found, key=lambda row: row.seq)}
    if last is not None:
        by_step[last.step] = last
    return list(by_step.values())


def _lines(file: BinaryIO, points: int) -> Iterator[bytes]:
    """The first whole line of each stretch, and the first with an evaluation.

    The file is read and never mapped: a mapped one that shrinks meanwhile ends the process.
    """
    size = os.fstat(file.fileno()).st_size
    stretch = max(1, size // points)
    for start in range(0, size, stretch):
        before = min(start, LINE_BYTES)
        content = os.pread(file.fileno(), before + stretch + LINE_BYTES, start - before)
        yield _line_at(content, 0 if start == 0 else content.find(b"\n", before) + 1)
        found = content.find(EVALUATED, before, before + stretch)
        if found >= 0:
            yield _line_at(content, content.rfind(b"\n", 0, found) + 1)


def _line_at(content: bytes, start: int) -> bytes:
    end = content.find(b"\n", start)
    return content[start:end] if end >= 0 else b""


def _thinned(rows: list[MetricsRow], points: int) -> list[MetricsRow]:
    """Every k-th row, every evaluation (thinned alike if there are too many), and the last."""
    if len(rows) <= 2 * points:
        return rows
    every = -(-len(rows) // points)
    evaluated = [row for row in rows if row.eval_loss is not None]
    by_step = {row.step: row for row in rows[::every]}
    by_step |= {row.step: row for row in evaluated[:: -(-len(evaluated) // points) or 1]}
    by_step[rows[-1].step] = rows[-1]
    return [by_step[step] for step in sorted(by_step)]
