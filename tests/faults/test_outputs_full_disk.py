"""A disk that is really full half-way through a merge or an extraction: whole or not there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from lora_engine.base_models import BaseModel
from tests.adapter_forms import make
from tests.faults.test_runs_full_disk import NAMESPACE
from tests.faults.zygote import ROOT


@pytest.fixture(scope="module")
def found(tmp_path_factory, tiny_llama):
    """What merging and extracting left, by operation."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "disk").mkdir()
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    make(BaseModel("base", tiny_llama), folder / "adapter", config)
    tuned = shutil.copytree(tiny_llama, folder / "tuned")
    weights = {name: 1.1 * t for name, t in load_file(tuned / "model.safetensors").items()}
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    request = {"folder": str(folder / "disk"), "base": str(tiny_llama), "tuned": str(tuned),
               "adapter": str(folder / "adapter")}  # fmt: skip
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.faults.full_disk_outputs", json.dumps(request)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
