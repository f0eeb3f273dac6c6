"""Files and folders written whole or not at all, torn lines, readers with a bound."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from lora_engine.errors import EngineError
from lora_engine.files import (
    BeingWritten,
    LineWriter,
    TooLarge,
    append_rows,
    atomic_file,
    atomic_folder,
    given_path,
    read_bounded,
    read_json_object,
    read_rows,
    read_tail,
)


class Point(BaseModel):
    x: int


def fill(folder: Path, text: str) -> None:
    with atomic_folder(folder) as staging:
        (staging / "part").mkdir()
        (staging / "part" / "a.txt").write_text(text)


def test_a_folder_is_replaced_whole(tmp_path):
    fill(tmp_path / "result", "old")
    fill(tmp_path / "result", "new")
    assert (tmp_path / "result" / "part" / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("failing", range(1, 8))
def test_a_folder_whose_replacement_fails_is_as_it_was(tmp_path, monkeypatch, failing):
    """Whichever sync or rename fails: the old folder or, after the last rename, the new one."""
    fill(tmp_path / "result", "old")
    calls = 0

    def nth_fails(real):
        def call(*given):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(28, "No space left on device")
            return real(*given)

        return call

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):
            patch.setattr(os, name, nth_fails(getattr(os, name)))
        try:
            fill(tmp_path / "result", "new")
            failed = False
        except OSError:
            failed = True
    found = (tmp_path / "result" / "part" / "a.txt").read_text()
    renamed = calls == failing == 6  # the sync of the parent comes after the last rename
    assert found == ("old" if failed and not renamed else "new")
    assert not (tmp_path / ".result.staging").exists()


def test_an_error_while_a_folder_is_filled_leaves_the_old_one(tmp_path):
    fill(tmp_path / "result", "old")
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "result") as staging:
        (staging / "no folder" / "half").write_text("half")
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["part"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_second_writer_of_a_folder_is_refused_and_the_first_one_is_not_disturbed(tmp_path):
    with atomic_folder(tmp_path / "result") as staging:
        (staging / "a.txt").write_text("first")
        with pytest.raises(BeingWritten):
            fill(tmp_path / "result", "second")
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["a.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    for name in (".result.staging", ".result.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.txt").write_text("half")
    fill(tmp_path / "result", "new")
    assert [path.name for path in (tmp_path / "result").iterdir()] == ["part"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("text", ["~nobody-here/x", "a" * 300, "a/" * 2_000, "a\0b", "\ud800"])
def test_a_text_that_is_no_path_is_refused(text):
    with pytest.raises(EngineError, match="cannot be a path"):
        given_path(text)


@pytest.mark.parametrize("text", ["no/such/file", "a\nb", "", "name"])
def test_any_other_text_is_a_path_whether_something_is_there_or_not(text):
    assert given_path(text) == Path(text)
    assert given_path("~") == Path.home()


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "a"
    with atomic_file(path) as first, atomic_file(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # its block ended last
    assert list(tmp_path.iterdir()) == [path]


def test_rows_after_a_torn_line_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, [Point(x=1), Point(x=2)])
    path.write_bytes(path.read_bytes()[:-4])
    assert list(read_rows(path, Point)) == [Point(x=1)]
    append_rows(path, [Point(x=3)])
    assert list(read_rows(path, Point)) == [Point(x=1), Point(x=3)]
    assert list(read_rows(tmp_path / "none", Point)) == []


def test_a_reader_takes_no_more_than_its_bound(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, [Point(x=1), Point(x=2)])
    line = path.stat().st_size // 2
    assert list(read_rows(path, Point, most_bytes=2 * line)) == [Point(x=1), Point(x=2)]
    assert list(read_rows(path, Point, most_bytes=2 * line - 1)) == [Point(x=1)]
    path.write_bytes(b"9" * 1000)
    assert list(read_rows(path, Point, most_bytes=10)) == []


def test_a_line_that_a_full_disk_took_half_of_is_finished(tmp_path):
    class Half:
        def __init__(self):
            self.content = b""

        def write(self, content):
            taken = content[: max(1, len(content) // 2)] if not self.content else content
            self.content += taken
            return len(taken)

    writer = LineWriter(tmp_path / "rows")
    writer.close()
    writer._file = half = Half()
    writer.write(b"abc", b"def")
    assert half.content == b"abc\ndef\n"


def test_the_end_of_a_file_is_read_without_the_rest(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    assert read_tail(path, 3) == b"789"
    assert read_tail(path, 99) == b"0123456789"
    assert read_tail(tmp_path / "none", 3) == b""


@pytest.mark.parametrize("content", [b"", b"[1]", b"3", b"{", b"\xff{}", b'{"a":' * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        read_json_object(path)


def test_a_file_is_read_up_to_its_bound(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1}')
    assert read_json_object(path, 8) == {"a": 1}
    assert read_bounded(path, 8) == b'{"a": 1}'
    with pytest.raises(TooLarge, match="7"):
        read_json_object(path, 7)
