"""Counts equal PEFT's own on the real, whole model class on the meta device.

The expected values come from a path that shares nothing with the engine's shortcut: the class is
built from the preset's config with every layer in it, PEFT adds its adapters, and PEFT counts.
"""

import json
import warnings

import pytest

from lora_engine import calculator
from lora_engine.calculator import PRESETS, preset_source
from tests.calculator_requests import lora

pytestmark = pytest.mark.slow

ONE_OF_EACH = list({p.config["model_type"]: name for name, p in PRESETS.items()}.values())


def whole_model(name):
    import torch
    import transformers

    config = json.loads(json.dumps(dict(PRESETS[name].config)))
    config.pop("dtype", None)
    model_class = getattr(transformers, config["architectures"][0])
    with torch.device("meta"):
        return model_class(transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config))


def peft_model(model, targets, **options):
    import torch
    from peft import LoraConfig, get_peft_model

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(target_modules=targets, **options)
        return get_peft_model(model, config, low_cpu_mem_usage=True)


def peft_counts(name, targets, **options):
    """(trainable, base parameters) as PEFT and the whole model give them."""
    model = whole_model(name)
    base = sum(p.numel() for p in model.parameters())
    return peft_model(model, targets, **options).get_nb_trainable_parameters()[0], base


@pytest.mark.parametrize("name", PRESETS)
def test_all_linear_equals_peft_for_every_preset(name):
    counted = calculator.count_model(preset_source(name), lora(16, "all-linear"))
    expected = peft_counts(name, "all-linear", r=16)
    assert (counted.trainable_parameters, counted.base_parameters) == expected
    assert sum(m.parameters for m in counted.modules) == counted.trainable_parameters
    assert counted.base_parameters == PRESETS[name].published_parameters


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_shortcuts_are_targets_peft_understands_the_same_way(name):
    for shortcut in ("q,v", "attention", "mlp"):
        counted = calculator.count_model(preset_source(name), lora(4, shortcut))
        trainable, _ = peft_counts(name, list(counted.resolved_targets), r=4)
        assert counted.trainable_parameters == trainable, shortcut


@pytest.mark.parametrize(
    ("name", "targets", "choice", "options"),
    [
        ("llama-2-7b", ["q_proj", "v_proj"], {"use_dora": True}, {"use_dora": True}),
        ("qwen2.5-0.5b", ["q_proj", "o_proj"], {"lora_bias": True}, {"lora_bias": True}),
        ("gpt2", "all-linear", {"use_dora": True}, {"use_dora": True}),
        ("bert-base", ["query"], {"rank_pattern": {"query": 3}}, {"rank_pattern": {"query": 3}}),
        (
            "llama-3-8b",
            ["q_proj", "v_proj"],
            {"rank_pattern": {"model.layers.3.self_attn.q_proj": 64, "v_proj": 4}},
            {"rank_pattern": {"model.layers.3.self_attn.q_proj": 64, "v_proj": 4}},
        ),
        ("llama-3-8b", ["layers.0.self_attn.q_proj"], {}, {}),
        ("llama-3.2-1b", ["embed_tokens", "q_proj"], {}, {}),
        (
            "vit-base",
            ["q_proj"],
            {"modules_to_save": ["classifier"]},
            {"modules_to_save": ["classifier"]},
        ),
        (
            "t5-base",
            ["q", "v"],
            {"modules_to_save": ["final_layer_norm"]},
            {"modules_to_save": ["final_layer_norm"]},
        ),
        (
            "llama-2-7b",
            ["q_proj"],
            {"modules_to_save": ["lm_head", "layernorm"]},
            {"modules_to_save": ["lm_head", "layernorm"]},
        ),
        ("mixtral-8x7b", ["w1", "w2", "w3"], {}, {}),
        ("gpt2", ["c_attn"], {"bias": "all"}, {"bias": "all"}),
        ("gpt2", ["c_attn"], {"bias": "lora_only"}, {"bias": "lora_only"}),
        ("bert-base", ["query"], {"bias": "all"}, {"bias": "all"}),
        ("qwen2.5-0.5b", ["q_proj", "o_proj"], {"bias": "lora_only"}, {"bias": "lora_only"}),
        ("llama-2-7b", ["q_proj"], {"bias": "all"}, {"bias": "all"}),
        (
            "vit-base",
            ["q_proj"],
            {"bias": "all", "modules_to_save": ["classifier"]},
            {"bias": "all", "modules_to_save": ["classifier"]},
        ),
    ],
)
def test_options_equal_peft(name, targets, choice, options):
    counted = calculator.count_model(preset_source(name), lora(8, targets, **choice))
    trainable, base = peft_counts(name, targets, r=8, **options)
    assert (counted.trainable_parameters, counted.base_parameters) == (trainable, base)


@pytest.mark.parametrize("name", ["llama-2-7b", "gemma-3-4b", "mixtral-8x7b", "t5-base", "gpt2"])
def test_every_module_has_the_name_and_size_peft_gives_it(name):
    counted = calculator.count_model(preset_source(name), lora(8, "all-linear"))
    expected = {}
    for path, parameter in peft_model(whole_model(name), "all-linear", r=8).named_parameters():
        if parameter.requires_grad:
            module = path.removeprefix("base_model.model.").partition(".lora_")[0]
            expected[module] = expected.get(module, 0) + parameter.numel()
    found = {m.name: m.parameters for m in counted.modules if m.experts == 1}
    if name == "mixtral-8x7b":
        inner = [m for m in counted.modules if m.experts == 8]
        for m in inner:
            path, _, leaf = m.name.rpartition(".")
            found[path + (".base_layer" if leaf == "gate_up_proj" else "")] = m.parameters
    assert found == expected


def test_ticking_every_line_is_every_targetable_module():
    for name in ("bert-base", "gemma-3-4b", "t5-base", "gpt2"):
        source = preset_source(name)
        for line in calculator.available_modules(source):
            if line.kind in ("linear", "conv1d"):
                counted = calculator.count_model(source, lora(1, line.targets))
                each = line.in_features + line.out_features
                assert counted.trainable_parameters == line.layers * each, (name, line)


def test_adapter_file_size_is_what_peft_saves(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=120,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(tmp_path)
    for targets in (["q_proj", "v_proj"], ["embed_tokens", "down_proj"]):
        model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=8, target_modules=targets))
        model.save_pretrained(tmp_path / "adapter")
        written = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
        source = calculator.path_source(tmp_path)
        counted = calculator.count_model(source, lora(8, targets))
        assert counted.adapter_bytes == pytest.approx(written, rel=0.02)
