"""The predicted cache of a chat, against the cache that a tiny model of each kind makes."""

import pytest
import torch

from lora_engine import calculator
from lora_engine.calculator import config_source
from tests.calculator_requests import ask, lora

GIB = 1 << 30
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 512,
}
GROUPED = {"num_key_value_heads": 2}
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
KINDS = {
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 24},
    "gemma2": GROUPED | {"head_dim": 16, "sliding_window": 24},
    "gemma3_text": GROUPED | {"head_dim": 16, "sliding_window": 24},
    "cohere2": GROUPED | {"sliding_window": 24},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "falcon": {"multi_query": True},
    "gpt_bigcode": {"multi_query": True},
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "jamba": GROUPED | {"num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "recurrent_gemma": {"lru_width": 64, "head_dim": 16, "attention_window_size": 24},
    "t5": {"d_model": 64, "d_kv": 16, "num_heads": 4, "num_layers": 2, "d_ff": 96},
}


def config_of(kind):
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[kind].from_dict(SIZES | KINDS[kind]).to_dict() | {"architectures": None}


def cached_bytes(config, rows, tokens):
    """Bytes of the tensors in the cache after a prompt, counted by hand from its attributes."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    auto = AutoModelForSeq2SeqLM if made.is_encoder_decoder else AutoModelForCausalLM
    model = auto.from_config(made, dtype=torch.float32).eval()
    ids = torch.randint(3, 500, (rows, tokens))
    extra = {"decoder_input_ids": ids} if made.is_encoder_decoder else {}
    with torch.no_grad():
        out = model(input_ids=ids, use_cache=True, **extra)
    cache = out.get("past_key_values", out.get("cache_params"))
    if cache is None:
        own = [t for m in model.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
        return sum(t.numel() * t.element_size() for t in own if t.is_floating_point())
    halves = [getattr(cache, f"{n}_attention_cache", None) for n in ("self", "cross")]
    layers = [la for c in (halves if halves[0] is not None else [cache]) for la in c.layers]
    held = {}
    for layer in layers:
        for value in vars(layer).values():
            for tensor in value.values() if isinstance(value, dict) else [value]:
                if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                    held[id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(held.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_of_each_kind_of_layer_is_what_transformers_keeps(kind):
    config = config_of(kind)
    fields = {"purpose": "chat", "dtype": "float32", "batch_size": 2, "seq_length": 40}
    request = ask(config_source(config), lora(4), kind="full", **fields)
    found = {item.name: item.gib for item in calculator.estimate_memory(request).items}
    assert found["KV cache"] * GIB == pytest.approx(cached_bytes(config, 2, 40), rel=1e-6)


def test_deepseeks_cache_is_576_numbers_a_token_and_layer():
    from lora_engine.calculator.cache_shape import read_cache_shape

    sizes = SIZES | LATENT | {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128}
    layers = read_cache_shape(config_source(sizes | {"model_type": "deepseek_v3"}))
    assert [(la.fixed, la.a_token, la.window) for la in layers] == [(0, 576, None)] * 4
