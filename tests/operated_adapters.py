"""Adapters of many forms that plain PEFT saves and loads, in float64: help for the tests.

What an operation wrote is opened by PEFT on the same base, and compared as dense updates.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tests.adapter_forms import TOKENS, peft_updates

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}
ARCHITECTURES = {
    "llama": SIZES,
    "qwen2": SIZES,
    "gpt2": {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "qwen2_moe": {
        **SIZES,
        "num_experts": 3,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 24,
    },
}
PLAIN = {"r": 6, "lora_alpha": 9, "target_modules": ["q_proj", "v_proj", "down_proj"]}
PATTERNS = {
    # the first key that matches wins: layer 1's v_proj has rank 3, layer 0's rank 4
    "rank_pattern": {"layers.1.self_attn.v_proj": 3, "v_proj": 4},
    "alpha_pattern": {"v_proj": 5},
}
FORMS = {
    "plain": ("llama", {}),
    "patterns": ("llama", PATTERNS),
    "rslora": ("llama", {"use_rslora": True}),
    "rslora, patterns": ("llama", {"use_rslora": True, **PATTERNS}),
    "layers": ("llama", {"layers_to_transform": [1]}),
    "regex": ("llama", {"target_modules": r".*layers\.0.*(q|v)_proj"}),
    "embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "lora bias": ("llama", {"lora_bias": True}),
    "whole modules": ("llama", {"modules_to_save": ["lm_head", "norm"]}),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "conv1d, unsaid": ("gpt2", {"target_modules": ["c_attn", "c_fc"]}),
    "biases": ("gpt2", {"target_modules": ["c_attn"], "bias": "all", "fan_in_fan_out": True}),
    "fused experts": (
        "qwen2_moe",
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
        },
    ),
}


def base_model(architecture):
    """A random model in float64, the same at every call."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture])
    config.name_or_path = f"tiny-{architecture}"
    # grouped matrix products know no float64
    return AutoModelForCausalLM.from_config(config, experts_implementation="eager").double().eval()


def save_adapter(folder, architecture="llama", seed=1, dtype=torch.float64, **settings):
    """An adapter whose factors are random, with a falling spectrum; saved by PEFT."""
    config = LoraConfig(**{**PLAIN, "task_type": "CAUSAL_LM", **settings})
    model = get_peft_model(base_model(architecture), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_A" in name or "lora_embedding_A" in name:
                fall = 2.0 ** -torch.arange(weight.shape[0], dtype=weight.dtype)
                weight.copy_(torch.randn_like(weight) * fall[:, None] / 4)
            elif "lora_" in name:
                weight.copy_(torch.randn_like(weight) / 4)
            elif weight.requires_grad:
                weight.add_(torch.randn_like(weight) / 10)
    model.to(dtype).save_pretrained(folder)
    return folder


def save_form(form, folder, **settings):
    architecture, own = FORMS[form]
    return save_adapter(folder, architecture, **{**own, **settings})


def loaded(folder, architecture="llama"):
    """Plain PEFT's model of the adapter in `folder`."""
    model = PeftModel.from_pretrained(
        base_model(architecture), folder, autocast_adapter_dtype=False
    )
    return model.double().eval()


def updates(folder, architecture="llama"):
    """By module: PEFT's own update, float64, in the stored orientation."""
    return {
        name: update for name, (_, update) in peft_updates(loaded(folder, architecture)).items()
    }


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits.numpy()


def whole_tensors(folder):
    """The tensors of an adapter file that are no factors, by key."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    factors = ("lora_A", "lora_B.weight", "lora_embedding")
    return {k: t.numpy() for k, t in tensors.items() if not any(f in k for f in factors)}


def config_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def best(update, rank):
    """The nearest matrix of that rank, by a dense SVD, and how far it is."""
    left, values, right = np.linalg.svd(update)
    near = left[:, :rank] * values[:rank] @ right[:rank]
    return near, float(np.sqrt(np.square(values[rank:]).sum())), values
