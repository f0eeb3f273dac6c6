"""The from-scratch LoRA layer of the lesson computes what PEFT's computes."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lora_engine.lesson import compare_with_peft, layer_source
from lora_engine.lesson.lora_layer import LoRALayer


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (4, 8), (16, 4)])
def test_answers_gradients_and_merged_weight_are_pefts(rank: int, alpha: int) -> None:
    torch.manual_seed(rank)
    base, peft_base, x = nn.Linear(24, 12), nn.Linear(24, 12), torch.randn(5, 24)
    peft_base.load_state_dict(base.state_dict())
    ours = LoRALayer(base, rank, alpha)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"])
    theirs = get_peft_model(nn.Sequential(peft_base), config)
    layer = theirs.base_model.model[0]
    factors = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    nn.init.normal_(ours.B)
    for one, other in zip(factors, (ours.A, ours.B), strict=True):
        one.data.copy_(other.data)

    answers = ours(x), theirs(x)
    for answer in answers:
        answer.pow(2).sum().backward()

    torch.testing.assert_close(*answers)
    torch.testing.assert_close(ours.A.grad, factors[0].grad)
    torch.testing.assert_close(ours.B.grad, factors[1].grad)
    torch.testing.assert_close(ours.merged(), layer.weight + layer.get_delta_weight("default"))
    trained = {name for name, one in ours.named_parameters() if one.requires_grad}
    assert trained == {"A", "B"}


def test_a_starts_as_pefts_does_and_b_at_zero() -> None:
    layer = LoRALayer(nn.Linear(400, 300), 50, 1)
    assert not layer.B.any()
    assert layer.A.abs().max() <= 400**-0.5
    assert layer.A.std().item() == pytest.approx((3 * 400) ** -0.5, rel=0.02)


def test_the_check_on_the_page_trains_both_alike() -> None:
    check = compare_with_peft()
    assert check.start_difference == 0
    assert check.losses[-1] < 0.5 * check.losses[0]
    assert check.losses == pytest.approx(check.peft_losses, rel=1e-5)
    assert max(check.output_difference, check.merged_difference) < 1e-5


def test_the_layer_is_as_short_as_it_says() -> None:
    assert len(layer_source().splitlines()) <= 25
