"""Tiny random encoders, and sentences to classify and to tag that they learn in seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch

THINGS = {"animal": ["dog", "cat", "fox"], "plant": ["oak", "rose", "fern"]}
FILLERS = ["a", "the", "one", "sees", "near", "old"]


def save_tiny_bert(folder: Path) -> Path:
    """A random two-layer BERT over a vocabulary of whole words."""
    from transformers import BertConfig, BertModel

    size = _save_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_tiny_encoder(folder: Path, kind: str) -> Path:
    """A random encoder of a kind, without a head: bert, roberta, distilbert, deberta-v2.

    bert has no pooler in its files. Widths are multiples of 64, as 4-bit layers on a CPU need.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM

    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if kind == "distilbert":
        sizes = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128, "dropout": 0.0,
                 "attention_dropout": 0.0, "seq_classif_dropout": 0.0}  # fmt: skip
    if kind == "deberta-v2":
        sizes |= {"pooler_hidden_size": 64, "pooler_dropout": 0.0}
    size = _save_tokenizer(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=size, pad_token_id=0, max_position_embeddings=66, initializer_range=0.2,
        **sizes,
    )  # fmt: skip
    AutoModelForMaskedLM.from_config(config).base_model.save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path) -> int:
    """A tokenizer of whole words; returns how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *FILLERS, *(word for group in THINGS.values() for word in group)]
    inner = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    return len(words)


def sentences(count: int = 320) -> Iterator[tuple[list[str], list[str], str]]:
    """(words, tags, class) of made-up sentences with one thing in each."""
    source = random.Random(0)
    for _ in range(count):
        name = source.choice(list(THINGS))
        words = source.choices(FILLERS, k=source.randint(2, 6))
        place = source.randrange(len(words) + 1)
        words.insert(place, source.choice(THINGS[name]))
        tags = [name.upper() if i == place else "O" for i in range(len(words))]
        yield words, tags, name


def write_texts(path: Path, count: int = 320) -> Path:
    """The sentences with their classes."""
    rows = [{"text": " ".join(words), "label": name} for words, _, name in sentences(count)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def write_tagged(path: Path, count: int = 320) -> Path:
    """The sentences' words with their tags."""
    rows = [{"tokens": words, "tags": tags} for words, tags, _ in sentences(count)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path
