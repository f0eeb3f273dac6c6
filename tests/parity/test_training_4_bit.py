"""A 4-bit base in our fused layers computes what PEFT's own 4-bit layers compute."""

from __future__ import annotations

import copy

import torch

from lora_engine.base_models import BaseModel, load_base_model
from lora_engine.spec import spec_from
from lora_engine.training.kernels import fused_layers, fused_linear
from lora_engine.training.models import adapter_model
from tests.tiny import save_tiny_model

SPEC = {"method": {"rank": 4}, "quantization": {"bits": 4, "type": "nf4", "double": True}}


def test_results_and_gradients_are_pefts(tmp_path):
    spec = spec_from(SPEC)
    folder = save_tiny_model(tmp_path / "model")
    base = load_base_model(BaseModel("tiny", folder), "cpu", torch.float32, spec.quantization)
    model = adapter_model.add_adapter(base, spec.method, True).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    ids = torch.randint(0, 300, (2, 12))

    expected, by_peft = loss_and_gradients(model, ids)
    assert fused_linear.install(model) == (14, 0)
    assert fused_layers.install(model) == 9  # norms, MLPs and attentions of two layers
    loss, ours = loss_and_gradients(model, ids)

    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert ours.keys() == by_peft.keys()
    for name, gradient in by_peft.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_checkpoint_does_not_stay_mapped(tmp_path):
    spec = spec_from(SPEC)
    folder = save_tiny_model(tmp_path / "model")

    model = load_base_model(BaseModel("tiny", folder), "cpu", torch.float32, spec.quantization)

    assert model.config.quantization_config.load_in_4bit
    with open("/proc/self/maps") as maps:
        assert str(folder) not in maps.read()


def loss_and_gradients(model, ids):
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), copy.deepcopy(gradients)
