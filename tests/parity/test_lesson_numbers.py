"""The lesson's own arithmetic beside torch's autograd and Adam, and bitsandbytes' NF4."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lora_engine.errors import InvalidInput
from lora_engine.lesson import LEVELS, STARTS, rounded_weight, train_four_starts
from lora_engine.lesson.four_starts import ALPHA, RANK, STEPS, make_problem, start_factors
from lora_engine.lesson.nf4_rounding import WEIGHT, round_to, widened
from lora_engine.lesson.update_size import RATE, first_step
from lora_engine.starter import MODEL_DIR


@pytest.mark.parametrize("kind", STARTS)
def test_a_start_is_trained_as_torch_trains_it(kind):
    found = next(one for one in train_four_starts(0.3, seed=4).starts if one.kind == kind)
    problem = make_problem(4)
    A, B = (torch.tensor(one, requires_grad=True) for one in start_factors(kind, 4))
    W, x, wanted = (torch.tensor(one) for one in (problem.W, problem.x, problem.wanted))
    optimizer = torch.optim.SGD([A, B], lr=0.3)
    losses = []
    for step in range(STEPS + 1):
        loss = 0.5 * ((W + ALPHA / RANK * B @ A) @ x - wanted).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            assert found.grad_A == pytest.approx(A.grad.norm().item())
            assert found.grad_B == pytest.approx(B.grad.norm().item())
        optimizer.step()
    np.testing.assert_allclose(found.losses, losses, rtol=1e-9, atol=1e-14)


def test_the_four_starts_differ_as_they_are_said_to():
    found = train_four_starts()
    b_zero, a_zero, both_zero, both_random = found.starts
    assert b_zero.losses[0] == a_zero.losses[0] == both_zero.losses[0] == found.base_loss
    assert both_random.losses[0] > found.base_loss
    assert both_random.shift > 0
    assert set(both_zero.losses) == {found.base_loss}
    assert (b_zero.grad_A, a_zero.grad_B, both_zero.grad_A, both_zero.grad_B) == (0, 0, 0, 0)
    assert max(b_zero.losses[-1], a_zero.losses[-1]) < 0.001 * found.base_loss


def test_steps_that_diverge_are_cut_and_wrong_numbers_are_named():
    with pytest.raises(InvalidInput) as refused:
        train_four_starts(0, seed=-1)
    assert {one.path for one in refused.value.problems} == {"learning_rate", "seed"}
    for losses in (one.losses for one in train_four_starts(2.0, seed=1).starts):
        assert np.isfinite(losses).all()


def test_the_first_step_is_adams():
    generator = np.random.default_rng(0)
    A, G = generator.normal(size=(4, 8)), generator.normal(size=(6, 8))
    B = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([B], lr=RATE)
    (B @ torch.tensor(A) * torch.tensor(G)).sum().backward()  # its gradient at W' is G
    optimizer.step()
    np.testing.assert_allclose(first_step(A, G), B.detach().numpy(), rtol=1e-6)


def test_levels_and_rounding_are_those_of_bitsandbytes():
    functional = pytest.importorskip("bitsandbytes.functional")
    from safetensors.torch import load_file

    code = functional.get_4bit_type("nf4", device="cpu")
    np.testing.assert_allclose(LEVELS, code.numpy(), atol=1e-7)
    weight = load_file(MODEL_DIR / "model.safetensors")[WEIGHT].float()
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    theirs = functional.dequantize_4bit(packed, state).numpy()
    blocks = weight.numpy().astype(np.float64).reshape(-1, 64)
    levels = np.array(LEVELS)
    ours = widened(levels, round_to(levels, blocks), blocks).reshape(theirs.shape)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    error = np.linalg.norm(theirs - weight.numpy()) / np.linalg.norm(weight.numpy())
    found = rounded_weight()
    assert found.error == pytest.approx(error, rel=1e-4)
    assert found.error < found.uniform_error
    assert sum(found.used) == sum(found.counts) == weight.numel()
