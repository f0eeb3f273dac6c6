"""Tiny models of real architectures with random weights, and a tokenizer to match, made on disk.

They go through the real loading code (`from_pretrained` on safetensors), only smaller.
"""

from __future__ import annotations

from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<eos>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CORPUS = [
    "The sky is blue and the grass is green.",
    "What colour is the sky? What colour is the grass?",
    "Two and three make five; four and four make eight.",
]
COMMON = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 256,
}


def save_tiny_model(folder: Path, architecture: str = "llama", **changes) -> Path:
    """A random model of the architecture with its tokenizer in `folder`, as any model lies there.

    architecture: llama, qwen2, qwen2_moe, mistral, gemma, phi or gpt2; `changes` go to its
    configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = save_tiny_tokenizer(folder)
    sizes = {**COMMON, "vocab_size": len(tokenizer)}
    if architecture == "gpt2":
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": len(tokenizer)}
    if architecture == "gemma":
        sizes["head_dim"] = 16
    if architecture == "qwen2_moe":
        sizes |= {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
        }
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **{**sizes, **special, **changes})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def save_tiny_tokenizer(folder: Path):
    """A byte-level BPE tokenizer with a chat template, saved into `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(CORPUS * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer
