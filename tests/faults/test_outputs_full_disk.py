"""A disk that is really full half-way through a merge or an extraction: whole or not there."""

from __future__ import annotations

import shutil

import pytest
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from lora_engine.base_models import BaseModel
from tests.adapter_forms import make


@pytest.fixture(scope="module")
def found(tmp_path_factory, tiny_llama, on_a_small_disk):
    """What merging and extracting left, by operation."""
    folder = tmp_path_factory.mktemp("full")
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    make(BaseModel("base", tiny_llama), folder / "adapter", config)
    tuned = shutil.copytree(tiny_llama, folder / "tuned")
    weights = {name: 1.1 * t for name, t in load_file(tuned / "model.safetensors").items()}
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    return on_a_small_disk(
        "full_disk_outputs",
        base=str(tiny_llama),
        tuned=str(tuned),
        adapter=str(folder / "adapter"),
    )


@pytest.mark.parametrize("operation", ["merge", "extract"])
def test_a_full_disk_is_said_and_leaves_nothing(found, operation):
    for said in found[operation]["said"]:
        assert f"{operation}/out could not be written: No space left on device" in said
        assert "Free space" in said
    assert found[operation]["left"] == {}


@pytest.mark.parametrize(
    ("operation", "weights"),
    [("merge", "model.safetensors"), ("extract", "adapter_model.safetensors")],
)
def test_it_is_written_once_there_is_room_and_stays_where_a_replacement_fails(
    found, operation, weights
):
    written = found[operation]["written"]
    assert f"out/{weights}" in written
    assert not [name for name in written if name.startswith(".")]
    assert found[operation]["kept"] == written
