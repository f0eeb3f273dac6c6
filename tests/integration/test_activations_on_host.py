"""Activations that wait on the host: the same losses bit for bit, gradients of every kind of pass.

The hooks run on the CPU here, which is told to move what it saves to itself.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from lora_engine.run_folder import RunDirectory
from lora_engine.training.forward import offloaded
from lora_engine.training.forward.generating import generating
from lora_engine.training.forward.offloaded import OffloadedPath, OnHost, saved_on_host
from lora_engine.training.models import assemble
from lora_engine.training.preparation import prepare
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here

ON = {"offload_activations": True}


@pytest.fixture
def moved(monkeypatch):
    """Let the CPU move all it saves; the bytes of each tensor that moved."""
    sizes = []

    def counted(tensor):
        sizes.append(tensor.numel() * tensor.element_size())
        return copied(tensor)

    copied = OnHost.copied
    monkeypatch.setattr(offloaded.OnHost, "copied", counted)
    monkeypatch.setattr(offloaded, "LEAST_BYTES", 0)
    monkeypatch.setattr(assemble, "HAS_OWN_MEMORY", ("cpu",))
    return sizes


@pytest.fixture
def run(tiny_llama, rows_file, settings, tmp_path):
    numbers = itertools.count()

    def train(optimization, base=tiny_llama, **changes):
        optimization = {"max_steps": 4, "gradient_accumulation": 2, **optimization}
        spec = tiny_spec(base, rows_file, optimization=optimization, **changes)
        return losses(train_here(spec, tmp_path / f"run-{next(numbers)}", settings)[0])

    return train


@pytest.mark.parametrize(
    ("optimization", "changes"),
    [
        ({}, {"method": {"dropout": 0.1}}),
        ({"gradient_checkpointing": True}, {"method": {"dropout": 0.1}}),
        ({"precision": "bfloat16"}, {"method": {"use_dora": True}}),
        ({}, {"quantization": {"bits": 4}}),
    ],
)
def test_losses_are_equal_to_the_last_bit(run, moved, optimization, changes):
    plain = run(optimization, **changes)
    assert not moved
    assert run({**optimization, **ON}, **changes) == plain
    assert moved


def test_tensors_cut_out_of_others_too(run, moved, tmp_path):
    base = save_tiny_model(tmp_path / "gpt2", "gpt2")
    assert run(ON, base) == run({}, base)
    assert moved


def test_every_pass_has_the_gradients_of_its_inner_path(
    tiny_llama, rows_file, settings, tmp_path, moved
):
    directory = RunDirectory(tmp_path / "run")
    directory.create(tiny_spec(tiny_llama, rows_file, optimization=ON))
    prepared = prepare(directory, settings)
    path = assemble.build_forward_path(prepared, assemble.build_trained_model(prepared, fresh=True))
    assert isinstance(path, OffloadedPath)
    batch = path.collate(prepared.data.training[:3])
    trained = [weight for weight in path.model.parameters() if weight.requires_grad]
    for name in ("summed_loss", "log_probabilities", "all_log_probabilities"):
        moved.clear()
        offloaded = torch.autograd.grad(getattr(path, name)(batch).sum(), trained)
        assert moved, name
        plain = torch.autograd.grad(getattr(path.inner, name)(batch).sum(), trained)
        assert all(torch.equal(*pair) for pair in zip(offloaded, plain, strict=True))
    with generating(path) as model:
        assert model.config._attn_implementation == path.inner.own_attention


def test_weights_and_small_tensors_stay(monkeypatch):
    layer = torch.nn.Linear(200, 200)
    large, small = torch.randn(200, 200, requires_grad=True), torch.randn(2, requires_grad=True)
    moved, copied = set(), OnHost.copied

    def seen(tensor):
        moved.add(tensor.data_ptr())
        return copied(tensor)

    monkeypatch.setattr(offloaded.OnHost, "copied", seen)
    with saved_on_host(layer):
        loss = (layer(large) ** 2).sum() + (small**2).sum()
    loss.backward()
    assert large.data_ptr() in moved
    assert not {layer.weight.data_ptr(), small.data_ptr()} & moved


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4, 5),
        torch.randn(3, 4, 5).permute(2, 0, 1),
        torch.randn(6, 8)[:, 2:5],
        torch.randn(1, 4).expand(3, 4),
        torch.tensor(2.0),
        torch.empty(0, 3),
        torch.arange(12).reshape(3, 4).T,
    ],
)
def test_a_tensor_comes_back_in_its_layout(tensor):
    back = OnHost.copied(tensor).back()
    assert torch.equal(back, tensor)
    assert back.dtype == tensor.dtype
    if tensor.numel() and 0 not in tensor.stride():
        order = sorted(range(tensor.dim()), key=lambda at: -tensor.stride(at))
        assert back.permute(order).is_contiguous()
