"""Rows T1 and T2 of the safety plan: pickles that run code, lie, or eat memory and time."""

import os
import pickle
import zipfile

import pytest
import torch

from lora_engine.weights import limits
from tests.faults.weights_files import refused


class Canary:
    """Unpickling this writes a file: if the file exists, code from the pickle ran."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_with_code_does_not_run_it(tmp_path):
    canary = tmp_path / "ran"
    torch.save({"w": torch.eye(2), "x": Canary(str(canary))}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "Weights only load failed", tensor="w")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Canary(str(canary)), protocol=2))
    refused(tmp_path / "plain.pt", "cannot be opened", tensor="w")
    assert not canary.exists()


def test_training_args_are_never_opened(tmp_path):
    torch.save({"w": torch.eye(2)}, tmp_path / "training_args.bin")
    refused(tmp_path / "training_args.bin", "never opened", tensor="w")


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(1).expand(1_000_000, 1_000_000), "claims 1,000,000,000,000 numbers"),
        (torch.eye(4).to_sparse(), "sparse"),
        (torch.zeros(3, 3, device="meta"), "device meta"),
        (torch.eye(3, dtype=torch.complex64), "complex"),
        (torch.tensor([[1.0, float("nan")]]), "nan at row 1, column 2"),
    ],
)
def test_tensors_that_are_not_plain_numbers(tmp_path, tensor, match):
    torch.save(tensor, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", match, tensor="tensor")


def test_a_compressed_torch_file_is_refused_before_it_is_opened(tmp_path):
    torch.save(torch.zeros(4000, 1000), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as source,
        zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    refused(tmp_path / "m.pt", "compressed inside", tensor="tensor")


def test_a_pickle_that_eats_memory_or_time_is_stopped(tmp_path, monkeypatch):
    torch.save(torch.zeros(4000, 4000), tmp_path / "m.pt")
    monkeypatch.setattr(limits, "PICKLE_MEMORY_BYTES", 2**20)
    refused(tmp_path / "m.pt", "cannot be opened", tensor="tensor")
    monkeypatch.setattr(limits, "PICKLE_TIMEOUT_S", 0.01)
    refused(tmp_path / "m.pt", "took over", tensor="tensor")
