"""Row T11 of the safety plan: a sharded model's index that leads elsewhere, and links."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lora_engine.errors import EngineError
from lora_engine.weights import open_checkpoint
from tests.faults.weights_files import refused


@pytest.mark.parametrize(
    "shard",
    [
        "../outside/w.safetensors",
        "/etc/passwd",
        "sub/w.safetensors",
        "..",
        "w.bin",
        ".hidden.safetensors",
        "a\\b.safetensors",
        "w\u0000.safetensors",
        7,
        None,
    ],
)
def test_an_index_that_leads_outside(tmp_path, shard):
    outside = tmp_path / "outside"
    model = tmp_path / "model"
    outside.mkdir()
    model.mkdir()
    save_file({"w": torch.eye(2)}, outside / "w.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    refused(model, "only safetensors files in the same folder", tensor="w")


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ('{"weight_map": {"w": "m.safetensors", "w": "m.safetensors"}}', "twice"),
        ('{"weight_map": {"x": "m.safetensors"}}', "should be in"),
        ('{"weight_map": {"w": "n.safetensors"}}', "lacks the file"),
        ('{"weight_map": {}}', "no weight_map"),
        ("[]", "no weight_map"),
        ("{", "no sound JSON"),
    ],
)
def test_an_index_that_does_not_fit(tmp_path, index, match):
    save_file({"w": torch.eye(2)}, tmp_path / "m.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    refused(tmp_path, match, tensor="w")


def test_a_link_out_of_the_folder(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": torch.eye(2)}, tmp_path / "secret.safetensors")
    (model / "model.safetensors").symlink_to(tmp_path / "secret.safetensors")
    refused(model, "leads out", tensor="w")


def test_folders_without_readable_weights(tmp_path):
    refused(tmp_path, "no safetensors file")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(EngineError, match="pickled files such as pytorch_model.bin"):
        open_checkpoint(tmp_path)
    refused(tmp_path / "gone", "There is no file")
