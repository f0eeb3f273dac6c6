"""Memory runs out: named as such, with the figures and the nearest change that fits."""

from __future__ import annotations

from threading import Event

import pytest
import torch

from lora_engine.run_folder import RunDirectory
from lora_engine.spec import spec_from
from lora_engine.training import worker
from lora_engine.training.forward.packed import PackedPath
from tests.training_runs import tiny_spec


def more_than_there_is(*_):
    """What torch's own allocator raises on this machine, and nothing smaller."""
    return torch.empty(1 << 60, dtype=torch.uint8)


def refused_by_the_gpu(*_):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("fault", [more_than_there_is, refused_by_the_gpu])
def test_it_is_named_with_figures_and_a_change_that_fits(
    fault, tiny_llama, rows_file, settings, tmp_path, monkeypatch
):
    directory = RunDirectory(tmp_path / "run")
    spec = tiny_spec(tiny_llama, rows_file, optimization={"batch_size": 8})
    directory.create(spec)
    monkeypatch.setattr(PackedPath, "summed_loss", fault)
    monkeypatch.setattr("lora_engine.training.train_run.skip_unused_imports", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert worker._run(directory, settings, resume=False, stop=Event(), group=None, kept=None) == 2

    problem = directory.result().error
    assert problem.problem.startswith("The worker ran out of memory: ")
    assert not problem.is_bug
    short = problem.out_of_memory
    assert short.peak_bytes > 0
    assert short.estimate_bytes > 0
    assert short.available_bytes > short.peak_bytes
    assert short.changes
    assert short.changes[0].what in problem.remedy

    document = spec.model_dump(mode="json")
    for change in short.changes:
        for path, value in change.fields.items():
            section, _, name = path.rpartition(".")
            (document[section] if section else document)[name] = value
    assert spec_from(document) != spec


def test_a_loss_of_another_kind_is_no_lack_of_memory(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch
):
    def broken(*_):
        raise RuntimeError("something else")

    directory = RunDirectory(tmp_path / "run")
    directory.create(tiny_spec(tiny_llama, rows_file))
    monkeypatch.setattr(PackedPath, "summed_loss", broken)
    monkeypatch.setattr("lora_engine.training.train_run.skip_unused_imports", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert worker._run(directory, settings, resume=False, stop=Event(), group=None, kept=None) == 1
    error = directory.result().error
    assert error.is_bug
    assert error.out_of_memory is None
