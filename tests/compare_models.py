"""Tiny random models of real architectures, with adapters, saved to folders for the tests."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import (
    IA3Config,
    LoHaConfig,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from lora_engine.adapters.bottleneck_layers import add_bottleneck, save_bottleneck
from lora_engine.base_models import BaseModel

SPECIAL = ["<pad>", "<bos>", "<eos>"]
VOCABULARY = 256 + len(SPECIAL) + 1
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "pad_token_id": 256,
    "bos_token_id": 257,
    "eos_token_id": 258,
}
ARCHITECTURES = {
    "llama": LlamaConfig(**TINY),
    "llama-tied": LlamaConfig(**TINY, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**TINY),
    "mistral": MistralConfig(**TINY, sliding_window=16),
    "gemma": GemmaConfig(**TINY, head_dim=8),
    "gemma2": Gemma2Config(**TINY, head_dim=8, sliding_window=16, tie_word_embeddings=False),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=512,
        initializer_range=0.25,
        pad_token_id=256,
        bos_token_id=257,
        eos_token_id=258,
    ),
}
VIRTUAL_TOKENS = ("prefix", "prompt", "p_tuning")
OTHER_METHODS = (*VIRTUAL_TOKENS, "ia3", "vera", "loha", "bottleneck")
METHOD_TARGETS = {"gpt2": ["c_attn", "c_proj"]}
EVERY_LINEAR = {"gpt2": ["c_attn", "c_proj", "c_fc"]}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that a character of several bytes is several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    for token in SPECIAL:
        vocabulary[token] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def save_base(folder: Path, architecture: str = "llama", seed: int = 0) -> BaseModel:
    """A random model of this architecture, with its tokenizer, as a base model in `folder`."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture])
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return BaseModel(architecture, folder)


def save_adapter(folder: Path, base: BaseModel, seed: int = 1, **choices: object) -> Path:
    """An adapter with random, non-zero B for `base`; `choices` go to PEFT's LoraConfig."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base.path)
    targets = EVERY_LINEAR.get(model.config.model_type, "all-linear")
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": targets, **choices})
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            torch.nn.init.normal_(parameter, std=0.2)
        if "modules_to_save" in name and parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def save_method_adapter(folder: Path, base: BaseModel, method: str, seed: int = 1) -> Path:
    """An adapter of another method than LoRA, made by PEFT, with random numbers that act."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base.path)
    if method == "bottleneck":
        return _save_bottleneck(folder, model)
    targets = METHOD_TARGETS.get(model.config.model_type, ["k_proj", "v_proj", "down_proj"])
    adapted = get_peft_model(model, method_config(method, targets))
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            parameter.data.normal_(1.0 if "ia3" in name else 0.0, 0.5)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def _save_bottleneck(folder: Path, model: PreTrainedModel) -> Path:
    layers = add_bottleneck(model, 6, "gelu")
    for layer in layers.values():
        for parameter in layer.parameters():
            parameter.data.normal_(0.0, 0.5)
    folder.mkdir()
    save_bottleneck(layers, folder, "base", 6, "gelu")
    return folder


def method_config(method: str, targets: list[str]) -> PeftConfig:
    """PEFT's configuration of a method in a small size, by its name in the spec."""
    tokens = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
    modules = {"task_type": "CAUSAL_LM", "target_modules": targets}
    made = {
        "prefix": lambda: PrefixTuningConfig(**tokens),
        "prompt": lambda: PromptTuningConfig(**tokens),
        "p_tuning": lambda: PromptEncoderConfig(**tokens, encoder_hidden_size=8),
        "ia3": lambda: IA3Config(**modules, feedforward_modules=targets[-1:]),
        "vera": lambda: VeraConfig(**modules, r=4, projection_prng_key=3),
        "loha": lambda: LoHaConfig(**modules, r=2, alpha=4),
    }
    return made[method]()
