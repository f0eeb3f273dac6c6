"""A run's metrics read again and again while they grow."""

from __future__ import annotations

import pytest

from lora_engine.run_folder import MetricsRow, RunDirectory
from lora_engine.runs.curve import FILES_KEPT, Curves, read_curve
from lora_engine.spec import RunSpec
from tests.metrics_rows import metrics_row

ROW = metrics_row()


@pytest.fixture
def directory(tmp_path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create(RunSpec())
    return directory


def line(step: int, seq: int) -> bytes:
    row = ROW.model_copy(update={"step": step, "seq": seq})
    return row.model_dump_json(exclude_none=True).encode() + b"\n"


def write(directory: RunDirectory, content: bytes, mode: str = "ab") -> None:
    with directory.metrics_path.open(mode) as file:
        file.write(content)


def read(curves: Curves, directory: RunDirectory) -> list[tuple[int, int]]:
    return [(row.step, row.seq) for row in curves.read(directory)]


def test_only_what_was_added_is_parsed_and_it_is_what_the_whole_file_says(directory, monkeypatch):
    curves = Curves()
    assert read(curves, directory) == []
    write(directory, line(1, 1) + line(2, 2) + line(3, 3)[:20])  # a line is being written
    assert read(curves, directory) == [(1, 1), (2, 2)]
    parsed = []
    validate = MetricsRow.model_validate_json
    monkeypatch.setattr(
        MetricsRow, "model_validate_json", lambda text: parsed.append(text) or validate(text)
    )
    write(directory, line(3, 3)[20:] + line(2, 4))  # resumed from step 1
    assert read(curves, directory) == [(1, 1), (2, 4), (3, 3)]
    assert len(parsed) == 2
    assert curves.read(directory) == read_curve(directory)


def test_a_file_that_is_another_or_shorter_is_read_anew(directory):
    curves = Curves()
    write(directory, line(1, 1) + line(2, 2))
    read(curves, directory)
    write(directory, line(5, 1), "wb")
    assert read(curves, directory) == [(5, 1)]
    other = directory.path / "other"
    other.write_bytes(line(7, 1) + line(8, 2) + line(9, 3))
    other.replace(directory.metrics_path)
    assert read(curves, directory) == [(7, 1), (8, 2), (9, 3)]


def test_the_last_files_alone_are_kept(tmp_path):
    curves = Curves()
    for number in range(3 * FILES_KEPT):
        directory = RunDirectory(tmp_path / str(number))
        directory.create(RunSpec())
        write(directory, line(1, 1))
        read(curves, directory)
    assert len(curves._kept) == FILES_KEPT
