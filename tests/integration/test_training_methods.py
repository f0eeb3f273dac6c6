"""Each way to fine-tune does to the weights what it says, and its result loads anywhere."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.adapters.library import list_adapters, resolve_adapter
from lora_engine.base_models import list_base_models
from lora_engine.errors import EngineError, NotFound
from lora_engine.run_folder import RunDirectory
from tests.training_runs import losses, tiny_spec, train_here

WHOLE = ("full", "freeze", "galore")


@pytest.fixture
def run(tiny_llama, rows_file, settings, tmp_path):
    """Trains a spec given by its changes; each run has a folder of its own."""
    numbers = itertools.count()

    def train(resume_in: RunDirectory | None = None, should_stop=lambda: False, **changes):
        folder = resume_in.path if resume_in else tmp_path / f"run-{next(numbers)}"
        spec = tiny_spec(tiny_llama, rows_file, **changes)
        return train_here(spec, folder, settings, resume_in is not None, should_stop)

    return train


def changed(directory: RunDirectory, base) -> set[str]:
    """Names of the saved weights that differ from the base's."""
    before = load_file(base / "model.safetensors")
    after = load_file(directory.path / "model" / "model.safetensors")
    assert set(before) == set(after)
    return {name for name in after if not torch.equal(before[name], after[name])}


def test_full_trains_every_weight_and_leaves_a_model(run, tiny_llama):
    directory, position = run(method={"finetuning_type": "full"})
    assert (position.saved_as, position.saved_step) == ("model", 8)
    assert not directory.adapter_path.exists()
    assert changed(directory, tiny_llama) == set(load_file(tiny_llama / "model.safetensors"))
    seen = losses(directory)
    assert seen[8] < seen[1] * 0.8
    folder = directory.path / "model"
    assert (folder / "provenance.json").is_file()
    AutoTokenizer.from_pretrained(folder)
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"


def test_a_whole_model_is_a_base_and_no_adapter(run, tiny_llama, rows_file, settings):
    settings.runs_dir.mkdir(parents=True)
    spec = tiny_spec(tiny_llama, rows_file, method={"finetuning_type": "full"})
    directory, _ = train_here(spec, settings.runs_dir / "whole", settings)
    (directory.path / "result.json").write_text('{"state": "finished"}')
    assert all(one.bundled for one in list_adapters(settings))
    folder = directory.path / "model"
    with pytest.raises(NotFound, match="whole model") as caught:
        resolve_adapter("whole", settings)
    assert str(folder) in caught.value.remedy
    assert str(folder) in [model.name for model in list_base_models(settings)]
    again = tiny_spec(folder, rows_file, optimization={"max_steps": 1})
    after, _ = train_here(again, settings.runs_dir / "on-it", settings)
    assert losses(after)[1] < losses(directory)[1]


def test_freeze_trains_the_last_layers_alone(run, tiny_llama):
    directory, _ = run(method={"finetuning_type": "freeze", "freeze_layers": 1})
    names = changed(directory, tiny_llama)
    assert names
    assert all(name.startswith("model.layers.1.") for name in names)
    with pytest.raises(EngineError, match=r"2 layers.* 3\b"):
        run(method={"finetuning_type": "freeze", "freeze_layers": 3})


def test_galore_moves_a_matrix_within_its_rank(run, tiny_llama):
    """Until the subspace changes, a matrix's update has the projector's rank; then more."""
    ranks = {}
    for every in (100, 4):
        method = {"finetuning_type": "galore", "rank": 2, "galore_every": every}
        directory, _ = run(method=method)
        after = load_file(directory.path / "model" / "model.safetensors")
        before = load_file(tiny_llama / "model.safetensors")
        name = "model.layers.0.mlp.up_proj.weight"
        values = torch.linalg.svdvals((after[name] - before[name]).double())
        ranks[every] = int((values > values[0] * 1e-3).sum())
        embedding = "model.embed_tokens.weight"
        assert not torch.equal(after[embedding], before[embedding])
    assert ranks == {100: 2, 4: 4}
    assert losses(directory)[8] < losses(directory)[1]


@pytest.mark.parametrize("method", WHOLE)
def test_half_precision_trains_whole_weights_and_is_saved_so(run, method):
    changes = {"method": {"finetuning_type": method, "freeze_layers": 1, "rank": 4}}
    directory, _ = run(**changes, optimization={"precision": "bfloat16"})
    seen = losses(directory)
    assert seen[8] < seen[1]
    weights = load_file(directory.path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"finetuning_type": "full"}},
        {"method": {"finetuning_type": "galore", "rank": 4, "galore_every": 3}},
        {"method": {"init": "pissa", "dropout": 0.1}},
        {"method": {"init": "eva"}},
        {"optimization": {"optimizer": "adamw_8bit"}},
        {"optimization": {"optimizer": "adafactor"}},
    ],
    ids=["full", "galore", "pissa", "eva", "adamw_8bit", "adafactor"],
)
def test_a_stopped_run_goes_on_exactly(run, changes):
    whole, _ = run(**changes)
    steps = itertools.count(1)
    broken, position = run(should_stop=lambda: next(steps) > 5, **changes)
    assert position.step == 5
    _, position = run(resume_in=broken, **changes)
    assert position.step == 8
    assert losses(broken) == losses(whole)
    saved = [next((d.path / position.saved_as).glob("*.safetensors")) for d in (whole, broken)]
    first, second = map(load_file, saved)
    assert all(torch.equal(first[name], second[name]) for name in first)
