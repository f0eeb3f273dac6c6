"""A tiny random BERT, and sentences to classify and to tag that it learns in seconds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch

THINGS = {"animal": ["dog", "cat", "fox"], "plant": ["oak", "rose", "fern"]}
FILLERS = ["a", "the", "one", "sees", "near", "old"]


def save_tiny_bert(folder: Path) -> Path:
    """A random two-layer BERT over a vocabulary of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
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
