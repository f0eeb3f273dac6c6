"""A run's metrics as a figure needs them: a bounded number of rows, however long the file.

A short file is read whole. A long one is cut into equal stretches of bytes, and each gives its
first row and its first evaluation, so a million rows cost what a thousand do. Knows nothing of
what is drawn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from lora_engine.files import parse_row
from lora_engine.run_folder import MetricsRow, RunDirectory

POINTS = 1000
READ_WHOLE_BYTES = 1_000_000  # a few thousand rows
LINE_BYTES = 16_384  # a row is a few hundred; what is longer is none
EVALUATED = b'"eval_loss": '


def read_curve(directory: RunDirectory, points: int = POINTS) -> list[MetricsRow]:
    """At most about two rows a point, in the order of their steps, always with the last row."""
    path = directory.metrics_path
    size = path.stat().st_size if path.exists() else 0
    rows = directory.metrics() if size <= READ_WHOLE_BYTES else _sampled(directory, points)
    rows.sort(key=lambda row: row.step)
    return _thinned(rows, points)


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
