"""Two hundred mutations of good files, none of which crashes a reader or runs what it carries; and
that the fuzzer sees it where one does."""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import fuzz
from tests.faults.fuzz_formats import Format
from tests.faults.zygote import ROOT

MUTATIONS = 200


def test_no_mutation_of_any_format_crashes_or_touches_the_canary():
    asked = [sys.executable, "-m", "tests.faults.fuzz", "--seed", "17", "--json"]
    done = subprocess.run(
        [*asked, "--count", str(MUTATIONS)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert (found["tried"], found["crashed"], found["canaries"]) == (MUTATIONS, 0, 0)
    assert found["refused"] > MUTATIONS / 4
    assert found["accepted"] > MUTATIONS / 20


def _spin(_: Path) -> None:
    while True:
        pass


def _greedy(_: Path) -> None:
    bytearray(200 << 20)


def _divide(_: Path) -> None:
    raise ZeroDivisionError


def _abort(_: Path) -> None:
    faulthandler.disable()  # pytest's would fill the log
    os.abort()


def _touch(folder: Path) -> None:
    (folder.parent / "canary").touch()


@pytest.mark.parametrize(
    ("reader", "words"),
    [(_spin, "time"), (_greedy, "MiB"), (_divide, "ZeroDivisionError"), (_abort, "SIGABRT")],
)
def test_what_goes_wrong_is_counted_and_the_others_are_still_tried(
    reader, words, tmp_path, monkeypatch
):
    monkeypatch.setattr(fuzz, "CPU_S", 0.2)
    monkeypatch.setattr(fuzz, "MEMORY_BYTES", 100 << 20)
    bad, good = (_format(name, read) for name, read in (("bad", reader), ("good", lambda _: None)))
    found = _fuzzed([bad, good], tmp_path)
    assert [case.outcome for case in found] == ["crashed", "accepted"]
    assert words in found[0].words


def test_a_touched_canary_is_seen_in_the_case_that_touched_it(tmp_path):
    found = _fuzzed([_format("bad", _touch), _format("good", lambda _: None)], tmp_path)
    assert [case.canary for case in found] == [True, False]


def test_a_seed_gives_the_same_bytes_again_and_another_gives_others(tmp_path):
    def contents(seed: int) -> list[bytes]:
        formats = [_format("text", lambda _: None)]
        fuzzer = fuzz.Fuzzer(formats, tmp_path, tmp_path / "canary", seed)
        return [fuzzer.content(case) for case in fuzzer.plan(5)]

    assert contents(1) == contents(1) != contents(2)


def _format(name: str, read) -> Format:
    from tests.faults.fuzz_mutations import of_bytes

    return Format(
        name, [b"hello" * 20], of_bytes, lambda content, folder: iter([lambda: read(folder)])
    )


def _fuzzed(formats: list[Format], folder: Path) -> list[fuzz.Case]:
    fuzzer = fuzz.Fuzzer(formats, folder, folder / "canary", seed=1)
    return list(fuzzer.run(fuzzer.good()))
