"""Rows T1 and T2 of the safety plan: pickles that run code, lie, or eat memory and time."""

import io
import os
import pickle
import zipfile
from argparse import Namespace

import numpy as np
import pytest
import torch

from lora_engine.errors import EngineError
from lora_engine.weights import limits, list_tensors, pickle_file
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
    refused(tmp_path / "m.pt", r"mkdir.*no code", tensor="w")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Canary(str(canary)), protocol=4))
    refused(tmp_path / "plain.pt", r"mkdir.*no code", tensor="w")
    assert not canary.exists()


@pytest.fixture
def in_process(monkeypatch):
    """The guarded code in this process, which has torch already."""
    monkeypatch.setattr(
        pickle_file, "run_guarded", lambda function, arguments, **_: function(*arguments)
    )


def linear():
    return torch.nn.Linear(3, 2)


def scripted():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(linear()), file)
    return file.getvalue()


def saved(value, **how):
    file = io.BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: saved(linear()), ["torch.nn.modules.linear.Linear", "model.state_dict()"]),
        (
            lambda: saved(linear(), _use_new_zipfile_serialization=False),
            ["torch.nn.modules.linear.Linear"],
        ),
        (
            lambda: saved({"state_dict": linear().state_dict(), "args": Namespace(a=1)}),
            ["argparse.Namespace"],
        ),
        (lambda: saved(torch.optim.SGD(linear().parameters())), ["torch.optim.sgd.SGD"]),
        (lambda: pickle.dumps({"a": np.eye(2)}), ["NumPy arrays", "numpy.save"]),
        (scripted, ["TorchScript"]),
        (lambda: saved(linear())[:300], ["damaged"]),
        (lambda: saved(torch.eye(2), _use_new_zipfile_serialization=False)[:70], ["damaged"]),
        (lambda: pickle.dumps([1, 2], protocol=2), ["torch.save did not write it"]),
    ],
)
def test_what_is_not_tensors_alone_is_named_in_our_words(tmp_path, in_process, make, named):
    (tmp_path / "m.pt").write_bytes(make())
    with pytest.raises(EngineError) as caught:
        list_tensors(tmp_path / "m.pt")
    said = str(caught.value)
    assert all(words in said for words in ["m.pt", *named])
    assert not any(words in said for words in ["\x1b", "Weights only", "weights_only", "still"])


def test_checkpoints_of_other_forms_are_listed(tmp_path, in_process):
    model = linear()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    whole = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(whole, tmp_path / "m.ckpt")
    torch.save([torch.eye(2), (torch.ones(3, 3),)], tmp_path / "list.bin")
    names = [info.name for info in list_tensors(tmp_path / "m.ckpt")]
    assert names[:2] == ["model.weight", "model.bias"]
    assert "optimizer.state.0.exp_avg" in names
    assert [info.name for info in list_tensors(tmp_path / "list.bin")] == ["0", "1.0"]


def test_one_tensor_that_is_not_plain_leaves_the_others_in_the_list(tmp_path, in_process):
    torch.save({"w": torch.eye(3), "mask": torch.eye(3).to_sparse()}, tmp_path / "m.pt")
    assert [info.name for info in list_tensors(tmp_path / "m.pt")] == ["w"]
    refused(tmp_path / "m.pt", "mask is sparse", tensor="mask")


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
    torch.save(torch.zeros(5000, 5000), tmp_path / "m.pt")  # over the 64 MiB of a free glibc heap
    with monkeypatch.context() as bounds:
        bounds.setattr(limits, "PICKLE_MEMORY_BYTES", 2**20)
        bounds.setattr(limits, "PICKLE_MEMORY_TIMES", 0)
        refused(tmp_path / "m.pt", "1 MiB", tensor="tensor")
    monkeypatch.setattr(limits, "PICKLE_SECONDS", 0.005)
    monkeypatch.setattr(limits, "PICKLE_BYTES_A_SECOND", 2**50)
    refused(tmp_path / "m.pt", "processor time", tensor="tensor")
