"""Every form of adapter against PEFT itself, on small models of real architectures.

PEFT makes the adapter, saves it and merges it; the update that Rankscope reads from the folder
must be merged minus base, and its singular values those of that difference.
"""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lora_engine.spectrum import describe_adapter, read_adapter, similarity, stack
from lora_engine.spectrum.delta_on_base import dora_delta, find_base_weight, share_of_base
from lora_engine.spectrum.low_rank_factors import factor_spectrum
from lora_engine.weights import open_checkpoint
from lora_engine.weights.matrix import to_array


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, attention_bias=True,
        )
    )  # fmt: skip


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=48, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    )


FORMS = {
    "plain": (llama, {"target_modules": ["q_proj", "v_proj", "down_proj"]}),
    "all-linear": (llama, {"target_modules": "all-linear"}),
    "rslora": (llama, {"target_modules": ["q_proj"], "use_rslora": True}),
    "patterns": (
        llama,
        {
            "target_modules": ["q_proj", "k_proj", "v_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 3, "k_proj": 2},
            "alpha_pattern": {"v_proj": 5, "^model.layers.0.self_attn.q_proj": 11},
        },
    ),
    "patterns with rslora": (
        llama,
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 2}, "use_rslora": True},
    ),
    "lora_bias": (llama, {"target_modules": ["q_proj", "v_proj"], "lora_bias": True}),
    "trained biases": (llama, {"target_modules": ["q_proj"], "bias": "lora_only"}),
    "embedding": (llama, {"target_modules": ["embed_tokens", "q_proj"]}),
    "modules_to_save": (llama, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "dora": (llama, {"target_modules": ["q_proj", "k_proj", "down_proj"], "use_dora": True}),
    "dora with rslora": (
        llama, {"target_modules": ["q_proj"], "use_dora": True, "use_rslora": True}),
    "dora embedding": (llama, {"target_modules": ["embed_tokens"], "use_dora": True}),
    "conv1d": (gpt2, {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "conv1d, unsaid": (gpt2, {"target_modules": ["c_attn", "c_proj"]}),
    "conv1d embedding": (gpt2, {"target_modules": ["wte", "c_attn"], "fan_in_fan_out": True}),
    "dora conv1d": (
        gpt2, {"target_modules": ["c_attn", "c_fc"], "use_dora": True, "fan_in_fan_out": True}),
}  # fmt: skip


def adapt(model, folder, seed=1, dtype=None, **settings):
    """Give every factor random numbers, save adapter and base, and return the PEFT model."""
    model.save_pretrained(folder / "base")
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | settings)
    adapted = get_peft_model(model, config)
    if dtype is not None:
        adapted = adapted.to(dtype)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_magnitude" in name:
                weight.mul_(1 + 0.3 * torch.rand_like(weight))
            elif "lora_" in name:
                weight.copy_(0.2 * torch.randn_like(weight))
    adapted.save_pretrained(folder / "adapter")
    return adapted


def merged_minus_base(adapted, base):
    """Weight name to update, from PEFT's own merge, in the stored orientation."""
    before = {name: base.tensor(name) for name in base.tensors}
    after = adapted.merge_and_unload().state_dict()
    return {name: after[name].detach().double().numpy() - before[name] for name in before}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_the_update_is_peft_s(tmp_path, form):
    make, settings = FORMS[form]
    adapted = adapt(make(), tmp_path, **settings)
    base = open_checkpoint(tmp_path / "base")
    adapter = read_adapter(tmp_path / "adapter")
    shown = describe_adapter(adapter, base)
    scalings = {
        name.removeprefix("base_model.model."): module.scaling["default"]
        for name, module in adapted.named_modules()
        if isinstance(module, LoraLayer)
    }
    assert {module.name for module in adapter.modules} == set(scalings)
    expected = merged_minus_base(adapted, base)
    for module, spectrum in zip(adapter.modules, shown.modules, strict=True):
        assert module.scaling == pytest.approx(scalings[module.name], rel=1e-12)
        weight = find_base_weight(base, module)
        ours = (
            to_array(dora_delta(module, weight))
            if settings.get("use_dora")
            else module.factors.dense()
        )
        theirs = expected[f"{module.name}.weight"]
        if theirs.shape != ours.shape or make is gpt2 or module.kind == "embedding":
            theirs = theirs.T
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        values = np.linalg.svd(theirs, compute_uv=False)
        assert spectrum.complete
        np.testing.assert_allclose(
            spectrum.singular_values, values[: spectrum.singular_values.size], atol=1e-5
        )
        assert spectrum.frobenius_norm == pytest.approx(np.linalg.norm(theirs), rel=1e-4)
        assert spectrum.base.base_norm == pytest.approx(np.linalg.norm(to_array(weight)), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_bf16_adapter_is_computed_from_float32_factors(tmp_path):
    adapt(llama(), tmp_path, dtype=torch.bfloat16, target_modules=["q_proj"])
    module = read_adapter(tmp_path / "adapter").modules[0]
    assert module.lora_A.dtype == np.float32
    exact = module.lora_B.astype(np.float64) @ module.lora_A * module.scaling
    np.testing.assert_allclose(module.factors.dense(), exact, rtol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_the_magnitude_is_what_get_delta_weight_leaves_out(tmp_path):
    adapted = adapt(llama(), tmp_path, target_modules=["q_proj"], use_dora=True)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    theirs = adapted.get_submodule(name).get_delta_weight("default").detach().numpy()
    module = read_adapter(tmp_path / "adapter").module(name.removeprefix("base_model.model."))
    np.testing.assert_allclose(module.factors.dense(), theirs, atol=1e-6)
    alone = describe_adapter(tmp_path / "adapter")
    assert not alone.modules[0].complete
    assert any("DoRA without the base" in note for note in alone.notes)


@pytest.mark.filterwarnings("ignore")
def test_amplification_is_the_paper_s(tmp_path):
    adapt(llama(), tmp_path, target_modules=["q_proj", "down_proj"])
    base = open_checkpoint(tmp_path / "base")
    for module in read_adapter(tmp_path / "adapter").modules:
        weight = find_base_weight(base, module)
        delta, values = module.factors.dense(), to_array(weight)
        u, _, vt = np.linalg.svd(delta)
        expected = np.linalg.norm(delta) / np.linalg.norm(u[:, :4].T @ values @ vt[:4].T)
        own = factor_spectrum(module.factors)
        share = share_of_base(weight, own.left, own.right, np.linalg.norm(delta))
        assert share.amplification == pytest.approx(expected, rel=1e-6)
        assert share.relative_norm == pytest.approx(
            np.linalg.norm(delta) / np.linalg.norm(values), rel=1e-6
        )


@pytest.mark.filterwarnings("ignore")
def test_two_adapters_against_dense_arithmetic(tmp_path):
    for folder, seed in [("one", 1), ("two", 2)]:
        (tmp_path / folder).mkdir()
        adapt(llama(), tmp_path / folder, seed=seed, target_modules=["q_proj", "v_proj"])
    paths = [tmp_path / folder / "adapter" for folder in ("one", "two")]
    answer = similarity(*paths)
    first, second = (read_adapter(path) for path in paths)
    for found, a, b in zip(answer.modules, first.modules, second.modules, strict=True):
        left, right = a.factors.dense(), b.factors.dense()
        u1, u2 = (np.linalg.svd(m)[0][:, :4] for m in (left, right))
        for i, j in [(1, 1), (2, 4), (4, 3)]:
            expected = np.linalg.norm(u1[:, :i].T @ u2[:, :j]) ** 2 / min(i, j)
            assert found.phi[i - 1, j - 1] == pytest.approx(expected, abs=1e-8)
        v1, v2 = (np.linalg.svd(m)[2][:4] for m in (left, right))
        for update, u, v, overlap in [
            (left, u2, v2, found.interference.overlap_a),
            (right, u1, v1, found.interference.overlap_b),
        ]:
            shared = np.linalg.norm(u.T @ update @ v.T) ** 2 / np.linalg.norm(update) ** 2
            assert overlap == pytest.approx(shared, abs=1e-9)
        assert found.distance == pytest.approx(np.linalg.norm(left - right), rel=1e-8)
        cosine = np.sum(left * right) / np.linalg.norm(left) / np.linalg.norm(right)
        assert found.cosine == pytest.approx(cosine, abs=1e-10)
        total = stack([(a.factors, 0.7), (b.factors, 0.3)])
        np.testing.assert_allclose(total.dense(), 0.7 * left + 0.3 * right, atol=1e-10)
    on_a = similarity(*paths, on="A")
    v1, v2 = (np.linalg.svd(m.modules[0].lora_A)[2][:2] for m in (first, second))
    assert on_a.modules[0].phi[1, 1] == pytest.approx(np.linalg.norm(v1 @ v2.T) ** 2 / 2, abs=1e-6)
    json.dumps([answer.to_json(), on_a.to_json()], allow_nan=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use_dora", [False, True])
def test_convolutions(tmp_path, use_dora):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 5, 1))
    save_file(model.state_dict(), tmp_path / "base.safetensors")
    adapted = get_peft_model(
        model, LoraConfig(r=2, lora_alpha=5, target_modules=["0", "1"], use_dora=use_dora)
    )
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_magnitude" in name:
                weight.mul_(1.2)
            elif "lora_" in name:
                weight.copy_(0.3 * torch.randn_like(weight))
    adapted.save_pretrained(tmp_path / "adapter")
    base = open_checkpoint(tmp_path / "base.safetensors")
    adapter = read_adapter(tmp_path / "adapter")
    expected = merged_minus_base(adapted, base)
    for module in adapter.modules:
        weight = find_base_weight(base, module)
        ours = to_array(dora_delta(module, weight)) if use_dora else module.factors.dense()
        theirs = expected[f"{module.name}.weight"]
        np.testing.assert_allclose(ours, theirs.reshape(theirs.shape[0], -1), atol=2e-6)
        assert module.kind == "convolution"
