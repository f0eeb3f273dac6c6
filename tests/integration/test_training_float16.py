"""Loss scaling: the steps of float32 within float16's rounding, overflows skipped, exact resuming.

The run itself is for GPUs; its parts compute on the CPU too, and are tried here.
"""

from __future__ import annotations

import json
import math

import pytest
import torch

from lora_engine.settings import Settings
from lora_engine.training.compatibility import Machine, compatibility_problems
from lora_engine.training.kernels import loss_scale
from lora_engine.training.kernels.loss_scale import LossScale
from lora_engine.training.optimizers.update import NonFiniteLoss, update
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float16")
    lines = [
        {"prompt": f"What is {i}?", "completion": f"It is {i}, and {i * i}."} for i in range(24)
    ]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    base = save_tiny_model(folder / "base")

    def train(name, precision, **how):
        spec = tiny_spec(base, folder / "rows.jsonl", optimization={"precision": precision})
        settings = Settings(data_dir=folder / "data", device="cpu")
        return train_here(spec, folder / name, settings, **how)

    return train


def test_losses_and_resuming(job):
    wide, _ = job("wide", "float32")
    whole, _ = job("whole", "float16")
    assert list(losses(whole).values()) == pytest.approx(list(losses(wide).values()), rel=2e-2)
    assert {row.skipped_steps for row in wide.metrics()} == {None}
    rows = whole.metrics()
    assert rows[-1].skipped_steps == sum(row.grad_norm == 0 for row in rows)
    asked = []

    def after_three():
        asked.append(1)
        return len(asked) > 3

    stopped, _ = job("broken", "float16", should_stop=after_three)
    assert len(losses(stopped)) == 3
    broken, _ = job("broken", "float16", resume=True)
    assert losses(broken) == pytest.approx(losses(whole), rel=1e-6)


def weight_with(gradient: float):
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), gradient)
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    scale = LossScale()
    weight, optimizer = weight_with(math.inf)
    assert update(optimizer, 1.0, 1.0, 1, scale) == 0.0
    assert weight.tolist() == [1.0, 1.0]
    assert (scale.value, scale.skipped_steps) == (loss_scale.START / 2, 1)
    scale.value = loss_scale.LEAST
    weight, optimizer = weight_with(math.inf)
    with pytest.raises(NonFiniteLoss):
        update(optimizer, 1.0, 1.0, 2, scale)
    with pytest.raises(NonFiniteLoss):
        update(weight_with(1.0)[1], math.nan, 1.0, 2, LossScale())


def test_gradients_are_scaled_and_put_back():
    scale = LossScale(value=8.0, steady_steps=loss_scale.GROW_AFTER - 1)
    x = torch.tensor([3.0], requires_grad=True)
    loss = scale.on_gradient((2 * x).sum())
    loss.backward()
    assert (loss.item(), x.grad.tolist()) == (6.0, [16.0])
    weight, optimizer = weight_with(16.0)
    assert update(optimizer, 1.0, 0.0, 1, scale) == pytest.approx(2 * math.sqrt(2))
    assert weight.tolist() == [-1.0, -1.0]
    assert (scale.value, scale.steady_steps) == (16.0, 0)
    other = LossScale()
    other.restore(LossScale(4.0, 7, 3).tensors())
    assert other == LossScale(4.0, 7, 3)


def test_a_cpu_refuses_it_in_words(tmp_path):
    spec = tiny_spec(tmp_path, tmp_path, optimization={"precision": "float16"})
    for has_gpu, found in ((False, ["optimization.precision"]), (True, [])):
        machine = Machine(has_gpu, frozenset())
        assert [problem.path for problem in compatibility_problems(spec, machine)] == found
