"""A base that was loaded before its run: the same run to the last bit, and only where it fits."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from lora_engine.base_models import BaseModel
from lora_engine.run_folder import RunDirectory
from lora_engine.training import kept_base, preparation
from lora_engine.training.kept_base import load_kept_base
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.memory import prediction
from lora_engine.training.preparation import prepare, write_memory_prediction
from lora_engine.training.train_run import train_prepared, with_kept_base
from tests.training_runs import losses, tiny_spec, train_here

FLOAT32 = torch.float32


@pytest.fixture
def base(tiny_llama, tmp_path) -> BaseModel:
    """A copy, which a test may change."""
    folder = tmp_path / "base"
    shutil.copytree(tiny_llama, folder)
    return BaseModel(str(folder), folder)


@pytest.fixture
def spec(base, rows_file):
    return tiny_spec(base.path, rows_file, method={"rank": 2, "dropout": 0.1})


def test_losses_are_equal_to_the_last_bit(base, spec, tmp_path, settings):
    cold, _ = train_here(spec, tmp_path / "cold", settings)
    kept = load_kept_base(base, FLOAT32)
    torch.rand(3)  # whatever the process did meanwhile
    directory = RunDirectory(tmp_path / "warm")
    directory.create(spec)
    run = with_kept_base(prepare(directory, settings), kept)
    assert run.loaded is not None
    train_prepared(run, False, TrainingProgress(), lambda: False)
    assert losses(directory) == losses(cold)
    weights = "adapter/adapter_model.safetensors"
    assert (directory.path / weights).read_bytes() == (cold.path / weights).read_bytes()


def test_it_is_given_once_and_to_a_run_that_would_load_the_same(base, spec, tmp_path):
    def taken(run=spec, of=base, dtype=FLOAT32):
        return load_kept_base(base, FLOAT32).take(run, of, dtype)

    kept = load_kept_base(base, FLOAT32)
    assert kept.take(spec, base, FLOAT32).model is not None
    assert kept.take(spec, base, FLOAT32) is None
    assert taken(dtype=torch.bfloat16) is None
    assert taken(of=BaseModel("other", shutil.copytree(base.path, tmp_path / "other"))) is None
    streamed = spec.optimization.model_copy(update={"stream_base": True})
    assert taken(run=spec.model_copy(update={"optimization": streamed})) is None


def test_a_base_that_changed_is_loaded_anew(base, spec):
    kept = load_kept_base(base, FLOAT32)
    weights = base.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    with weights.open("r+b") as file:  # as large as before, and in its place
        file.write(content)
    assert kept.take(spec, base, FLOAT32) is None


def test_a_base_whose_loading_draws_random_numbers_is_not_kept(base, spec, monkeypatch):
    load = kept_base.load_base_model

    def drawing(*arguments):
        torch.rand(1)
        return load(*arguments)

    monkeypatch.setattr(kept_base, "load_base_model", drawing)
    assert load_kept_base(base, FLOAT32).take(spec, base, FLOAT32) is None


def test_what_it_holds_is_no_part_of_the_memory_before_the_model(
    base, spec, tmp_path, settings, monkeypatch
):
    directory = RunDirectory(tmp_path / "run")
    directory.create(spec)
    run = prepare(directory, settings)
    loaded = replace(load_kept_base(base, FLOAT32).take(spec, base, FLOAT32), resident_bytes=300)
    monkeypatch.setattr(preparation, "memory_bytes", lambda _: 1000)
    found = []
    for one in (run, replace(run, loaded=loaded)):
        write_memory_prediction(one)
        text = (directory.path / prediction.FILE).read_text()
        found.append(prediction.Prediction.model_validate_json(text).baseline_bytes)
    assert found == [1000, 700]
