"""What the calculator counts is what training adapts, in every kind of architecture."""

import json
import logging

import pytest

from lora_engine.base_models.adaptable import REFUSED_IN, REFUSED_NAMES
from lora_engine.calculator import count_model
from lora_engine.calculator.meta_model import build_meta_model
from lora_engine.calculator.model_source import config_source
from lora_engine.errors import InvalidInput
from lora_engine.spec import MethodSpec
from lora_engine.training.models.adapter_model import add_adapter

WIDE = {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 2}
LAYERS = WIDE | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
EYES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
STATE = WIDE | {"state_size": 8}
MAMBA2 = STATE | {"num_heads": 8, "head_dim": 8, "n_groups": 1, "time_step_limit": [0.0, 1.0]}
GPT2 = {"vocab_size": 256, "n_embd": 32, "n_layer": 2, "n_head": 4}
CONFIGS = {
    "bloom": {"vocab_size": 256, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": WIDE | {"num_attention_heads": 4},
    "falcon_h1": LAYERS
    | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
    | {"mamba_n_groups": 1, "head_dim": 8},
    "falcon_mamba": STATE,
    "jamba": LAYERS | {"num_experts": 2, "mamba_dt_rank": 2, "attn_layer_offset": 1},
    "llama4_text": LAYERS | {"head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 48},
    "gemma3": {
        "text_config": LAYERS | {"head_dim": 8},
        "vision_config": EYES,
        "mm_tokens_per_image": 4,
    },
    "gpt2": GPT2,
    "gpt_neox": LAYERS,
    "llama": LAYERS,
    "mamba": STATE,
    "mamba2": MAMBA2,
    "mixtral": LAYERS | {"num_local_experts": 4},
    "opt": LAYERS | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi3": LAYERS,
    "rwkv": WIDE | {"attention_hidden_size": 32, "intermediate_size": 48},
}


def source_of(kind):
    return config_source({"model_type": kind, **CONFIGS[kind]}, kind)


def adapted(kind, targets):
    """Module to the trained numbers on it, as training makes them on the meta device."""
    import torch

    with torch.device("meta"):
        model = add_adapter(build_meta_model(source_of(kind)), MethodSpec(rank=2, **targets), False)
    trained = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            module = name.removeprefix("base_model.model.").partition(".lora_")[0]
            trained[module] = trained.get(module, 0) + parameter.numel()
    return trained


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_count_is_what_training_adapts(kind):
    counted = count_model(source_of(kind), MethodSpec(rank=2))
    idle = ("vision_tower", "dt_proj", "router")
    reached = [m.parameters for m in counted.modules if not any(i in m.name for i in idle)]
    assert sum(reached) == sum(adapted(kind, {}).values()) > 0


@pytest.mark.parametrize(
    ("kind", "idle"), [("mamba", "dt_proj"), ("jamba", "dt_proj"), ("llama4_text", "router")]
)
def test_all_linear_leaves_out_what_no_adapter_has_an_effect_on(kind, idle, caplog):
    counted = count_model(source_of(kind), MethodSpec(rank=2))
    assert any(idle in module.name for module in counted.modules)
    assert any(idle in warning for warning in counted.warnings)
    with caplog.at_level(logging.WARNING):
        trained = adapted(kind, {})
    assert trained
    assert not any(idle in name for name in trained)
    assert idle in caplog.text


def test_a_named_module_without_effect_is_warned_of_and_a_router_refused(caplog):
    with caplog.at_level(logging.WARNING):
        adapted("mamba", {"target_modules": ["in_proj", "dt_proj"]})
    assert "dt_proj will get no gradient" in caplog.text
    with pytest.raises(InvalidInput, match="router"):
        adapted("llama4_text", {"target_modules": ["router"]})


def test_a_shortcut_means_the_same_in_training():
    trained = adapted("llama", {"target_modules": ["attention"]})
    assert {n.rpartition(".")[2] for n in trained} == {"q_proj", "k_proj", "v_proj", "o_proj"}


@pytest.mark.parametrize("kind", sorted(REFUSED_IN & set(CONFIGS)))
def test_all_linear_leaves_out_what_peft_refuses_and_a_name_is_told(kind, caplog):
    with caplog.at_level(logging.WARNING):
        trained = adapted(kind, {})
    assert trained
    assert not {name.rpartition(".")[2] for name in trained} & REFUSED_NAMES
    assert "out_proj" in caplog.text
    with pytest.raises(InvalidInput) as refused:
        adapted(kind, {"target_modules": ["out_proj"]})
    assert kind in refused.value.problem
    assert "in_proj" in refused.value.remedy
    assert "out_proj" not in refused.value.remedy


def test_all_linear_stays_in_the_language_model_and_a_name_outside_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        trained = adapted("gemma3", {})
        assert all(name.startswith("model.language_model.") for name in trained)
        assert "9 modules" in caplog.text
        caplog.clear()
        named = adapted("gemma3", {"target_modules": ["q_proj"]})
    outside = [name for name in named if "vision_tower" in name]
    assert len(outside) == 1
    assert "no gradient" in caplog.text
    said = count_model(source_of("gemma3"), MethodSpec(rank=2)).warnings
    assert any("9 modules" in sentence and "vision_tower" in sentence for sentence in said)


def test_a_tied_head_is_a_module_like_another():
    config = {"model_type": "llama", **LAYERS, "tie_word_embeddings": True}
    method = MethodSpec(rank=2, target_modules=["lm_head", "q_proj"])
    names = {m.name for m in count_model(config_source(config), method).modules}
    assert "lm_head" in names


def test_an_open_range_of_a_config_is_read_as_transformers_writes_it():
    written = json.dumps({"model_type": "mamba2", **MAMBA2, "time_step_limit": [0.0, 0]})
    config = json.loads(written)
    config["time_step_limit"][1] = {"__float__": "Infinity"}
    assert count_model(config_source(config), MethodSpec(rank=2)).trainable_parameters
