"""What a run says of the error that ended it."""

from __future__ import annotations

import errno
import os

import pytest

from lora_engine.files import write_atomically
from lora_engine.run_folder import RunDirectory
from lora_engine.training.reporting.outcome import run_problem


def test_what_the_disk_refuses_of_a_run_is_a_sentence_and_no_bug(tmp_path, settings):
    directory = RunDirectory(tmp_path / "run")
    directory.metrics_path.mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(directory.metrics_path, b"")
    problem = run_problem(caught.value, directory, settings)
    assert not problem.is_bug
    assert str(directory.metrics_path) in problem.problem


@pytest.mark.parametrize(
    ("code", "place", "is_bug"),
    [
        (errno.EROFS, "run/adapter", False),
        (errno.EIO, "run/metrics.jsonl", False),
        (errno.ESTALE, "run", False),
        (errno.EACCES, "elsewhere", True),
        (errno.EBADF, "run/lock", True),
    ],
)
def test_a_refusal_elsewhere_or_of_another_kind_stays_a_bug(
    tmp_path, settings, code, place, is_bug
):
    error = OSError(code, os.strerror(code), str(tmp_path / place))
    assert run_problem(error, RunDirectory(tmp_path / "run"), settings).is_bug is is_bug
