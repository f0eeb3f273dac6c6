"""Counts equal PEFT's on many architectures, each built by its own class from its own config.

The expected values share nothing with the engine: transformers builds the class on the meta device
from a config of its defaults, PEFT adds its adapters to every layer, and PEFT counts.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from lora_engine import calculator
from lora_engine.calculator.model_source import config_source
from tests.calculator_requests import lora

pytestmark = pytest.mark.slow


def listed(names: str) -> list[str]:
    return names.split()


CAUSAL = listed(
    """
    LlamaForCausalLM MistralForCausalLM Qwen2ForCausalLM Qwen3ForCausalLM GemmaForCausalLM
    Gemma2ForCausalLM Gemma3ForCausalLM PhiForCausalLM Phi3ForCausalLM FalconForCausalLM
    BloomForCausalLM OPTForCausalLM GPTNeoXForCausalLM GPTJForCausalLM GPTNeoForCausalLM
    CodeGenForCausalLM MptForCausalLM CohereForCausalLM Cohere2ForCausalLM OlmoForCausalLM
    Olmo2ForCausalLM StableLmForCausalLM Starcoder2ForCausalLM GraniteForCausalLM GlmForCausalLM
    Glm4ForCausalLM GPTBigCodeForCausalLM PersimmonForCausalLM HeliumForCausalLM
    SmolLM3ForCausalLM Exaone4ForCausalLM XGLMForCausalLM BioGptForCausalLM GPT2LMHeadModel
    Ernie4_5ForCausalLM
    """
)
EXPERTS = listed(
    """
    MixtralForCausalLM Qwen2MoeForCausalLM Qwen3MoeForCausalLM OlmoeForCausalLM
    DeepseekV2ForCausalLM DeepseekV3ForCausalLM GptOssForCausalLM Llama4ForCausalLM
    GraniteMoeForCausalLM PhimoeForCausalLM MiniMaxForCausalLM DbrxForCausalLM
    """
)
HYBRID = listed(
    """
    JambaForCausalLM RwkvForCausalLM RecurrentGemmaForCausalLM Zamba2ForCausalLM
    BambaForCausalLM Qwen3NextForCausalLM Lfm2ForCausalLM
    """
)
OTHERS = listed(
    """
    BertForMaskedLM RobertaForMaskedLM DistilBertForMaskedLM AlbertForMaskedLM
    ElectraForMaskedLM DebertaV2ForMaskedLM ModernBertForMaskedLM T5ForConditionalGeneration
    BartForConditionalGeneration MBartForConditionalGeneration WhisperForConditionalGeneration
    ViTForImageClassification CLIPModel SiglipModel
    """
)
DBRX = {
    **{"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "vocab_size": 100},
    "attn_config": {"kv_n_heads": 2, "rope_theta": 500000, "clip_qkv": 8},
    "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
}
GIVEN: dict[str, dict[str, Any]] = {"DbrxForCausalLM": DBRX}


@pytest.mark.parametrize("name", [*CAUSAL, *EXPERTS, *HYBRID, *OTHERS])
def test_all_linear_is_counted_as_peft_counts_it(name):
    config = config_of(name)
    counted = calculator.count_model(config_source(config), lora(8, "all-linear"))
    assert (counted.trainable_parameters, counted.base_parameters) == peft_count(
        name, config, target_modules="all-linear"
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LlamaForCausalLM", {"target_modules": ["q_proj"], "use_dora": True}),
        ("GPT2LMHeadModel", {"target_modules": ["c_attn", "wte"]}),
        ("BloomForCausalLM", {"target_modules": ["query_key_value"], "bias": "all"}),
        ("OPTForCausalLM", {"target_modules": ["fc1", "fc2"], "lora_bias": True}),
        ("FalconForCausalLM", {"target_modules": ["dense"], "modules_to_save": ["lm_head"]}),
        (
            "Qwen2ForCausalLM",
            {"target_modules": ["v_proj"], "rank_pattern": {"layers.1.self_attn.v_proj": 3}},
        ),
        ("MambaForCausalLM", {"target_modules": ["in_proj", "x_proj"]}),
        ("Mamba2ForCausalLM", {"target_modules": ["in_proj"]}),
        ("LlamaForCausalLM", {"target_modules": ["lm_head", "o_proj"]}),
        ("T5ForConditionalGeneration", {"target_modules": ["q", "v"], "bias": "lora_only"}),
    ],
)
def test_options_are_counted_as_peft_counts_them(name, options):
    config = config_of(name)
    fields = {key: value for key, value in options.items() if key != "target_modules"}
    counted = calculator.count_model(
        config_source(config), lora(8, options["target_modules"], **fields)
    )
    expected = peft_count(name, config, **options)
    assert (counted.trainable_parameters, counted.base_parameters) == expected


def config_of(name: str) -> dict[str, Any]:
    """A config.json of the class, as transformers' defaults make it."""
    import transformers

    config = getattr(transformers, name).config_class(**GIVEN.get(name, {}))
    return json.loads(json.dumps({**config.to_dict(), "architectures": [name]}, default=str))


def peft_count(name: str, config: dict[str, Any], **options: Any) -> tuple[int, int]:
    """Trainable and base parameters."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    model_class = getattr(transformers, name)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_class(model_class.config_class.from_dict(json.loads(json.dumps(config))))
        base = sum(parameter.numel() for parameter in model.parameters())
        adapted = get_peft_model(model, LoraConfig(r=8, **options), low_cpu_mem_usage=True)
    return adapted.get_nb_trainable_parameters()[0], base
