"""A 4-bit base in our fused layers, in a whole run and in chat computes what PEFT's own does."""

from __future__ import annotations

import copy

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_engine.base_models import BaseModel, load_base_model
from lora_engine.spec import spec_from
from lora_engine.starter import MODEL_DIR
from lora_engine.training.forward.padded import PaddedPath
from lora_engine.training.kernels import fused_layers, fused_linear
from lora_engine.training.models import adapter_model
from lora_engine.training.preparation import prepare
from tests.plain_training import plain_losses
from tests.tiny import save_tiny_model
from tests.training_runs import losses, tiny_spec, train_here

SPEC = {"method": {"rank": 4}, "quantization": {"bits": 4, "type": "nf4", "double": True}}
CONSTANT = {"learning_rate": 0.003, "schedule": "constant", "warmup_ratio": 0.0}


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


@pytest.fixture
def repacking_cpu(monkeypatch):
    """bitsandbytes takes this CPU for one with AVX512-BF16, on which it repacks 4-bit weights."""
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)


@pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])
def test_a_whole_run_has_pefts_losses(use_dora, rows_file, settings, tmp_path, repacking_cpu):
    """From the spec to the log; the model is in eval mode before step 1 and before step 3."""
    spec = tiny_spec(
        "starter",
        rows_file,
        quantization=SPEC["quantization"],
        method={"rank": 4, "use_dora": use_dora},
        optimization=CONSTANT | {"max_steps": 3, "batch_size": 2, "eval_every": 2},
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)

    expected = pefts_losses(prepare(directory, settings), steps=3)
    assert list(losses(directory).values()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("kind", "double"), [("nf4", True), ("fp4", False)])
def test_a_4_bit_base_in_eval_mode_is_the_unpacked_model(kind, double, repacking_cpu):
    spec = spec_from({"quantization": {"bits": 4, "type": kind, "double": double}})
    starter = BaseModel("starter", MODEL_DIR)
    model = load_base_model(starter, "cpu", torch.float32, spec.quantization).eval()
    unpacked = unpacked_model(model, load_base_model(starter, "cpu", torch.float32)).eval()
    ids = torch.randint(0, 2000, (2, 12), generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        expected, first, again = unpacked(ids).logits, model(ids).logits, model(ids).logits

    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-4)


def pefts_losses(job, steps):
    """The losses of PEFT's own layers on transformers' own base, which is never in eval mode."""
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(
        job.base.path, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    torch.manual_seed(job.spec.seed)
    model = get_peft_model(base, adapter_model.lora_config(job.spec.method)).train()
    path = PaddedPath(model, job.tokenizer.pad_token_id, "cpu")
    return plain_losses(model, job, path, steps)


def unpacked_model(model, whole):
    """`whole` with the weights that the 4-bit layers of `model` stand for."""
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
                whole.get_submodule(name).weight.copy_(weight)
    return whole


def loss_and_gradients(model, ids):
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), copy.deepcopy(gradients)
