"""A run on a base stored in bfloat16 goes on as it began, on a processor of another kind too."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory
from lora_engine.training import precision, read_precision
from lora_engine.training.preparation import prepare
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here


@pytest.fixture
def processor(monkeypatch):
    def sets(is_fast: bool) -> None:
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: is_fast)

    monkeypatch.setattr(precision, "LEAST_NUMBERS", 1)
    return sets


@pytest.fixture
def spec(tmp_path, rows_file):
    base = save_tiny_model(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    stored = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    save_file(stored, base / "model.safetensors", {"format": "pt"})
    return tiny_spec(base, rows_file, optimization={"max_steps": 4})


def test_resumed_on_another_processor_it_computes_as_it_began(processor, spec, tmp_path, settings):
    processor(True)
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    asked = []
    stopped, _ = train_here(
        spec, tmp_path / "broken", settings, should_stop=lambda: len(asked) == 2 or asked.append(1)
    )
    assert len(losses(stopped)) == 2
    processor(False)
    resumed, _ = train_here(spec, tmp_path / "broken", settings, resume=True)
    assert losses(resumed) == losses(whole)
    assert read_precision(resumed).precision == "bfloat16"
    other, _ = train_here(spec, tmp_path / "other", settings)
    assert losses(other) != losses(whole)
    assert losses(other)[1] == pytest.approx(losses(whole)[1], rel=2e-3)


def test_runs_that_began_on_other_processors_share_no_base(processor, spec, tmp_path, settings):
    directories = [RunDirectory(tmp_path / name) for name in ("first", "second")]
    for directory, is_fast in zip(directories, (True, False), strict=True):
        directory.create(spec)
        processor(is_fast)
        prepared = prepare(directory, settings)
        assert str(prepared.dtype) == ("torch.bfloat16" if is_fast else "torch.float32")
    with pytest.raises(EngineError, match="precision"):
        prepare(directories[0], settings, [prepared])
