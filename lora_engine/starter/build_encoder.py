"""Make the starter's encoder: `python -m lora_engine.starter.build_encoder`, 33 s of one core.

A small BERT that has learned to fill in masked words of sentences about the starter's world, and
nothing else: classifiers start from it. The same weights every time on the same machine.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from lora_engine.starter import ENCODER_DIR
from lora_engine.starter.corpus import all_facts
from lora_engine.starter.entities import sentences

SEED = 0
VOCABULARY_SIZE = 1200
STEPS = 800
ROWS_PER_STEP = 32
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 100
MASKED_SHARE = 0.15
MAX_LENGTH = 128
FACTS_SHARE = 0.15  # of the sentences; the others have names
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build(folder: Path) -> None:
    """Corpus, tokenizer, training, saving."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    tokenizer = _tokenizer(islice(_corpus(SEED), 20_000))
    model = BertForMaskedLM(_config(tokenizer))
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens", flush=True)
    _train(model, tokenizer, _corpus(SEED + 1))
    folder.mkdir(parents=True, exist_ok=True)
    encoder = model.bert.bfloat16()
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _config(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    """Widths are multiples of 64, as 4-bit layers on a CPU need."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=MAX_LENGTH,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )


def _corpus(seed: int) -> Iterator[str]:
    """Endless sentences: with names, and answers about the starter's world."""
    source = random.Random(seed)
    answers = sorted({fact.answer for fact in all_facts()})
    for text in sentences(seed):
        yield source.choice(answers) if source.random() < FACTS_SHARE else text


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Words as they are written, capital letters too, and for other words single characters.

    The vocabulary is counted here: that of the library's trainer differs from run to run.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    splits = pre_tokenizers.BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in splits.pre_tokenize_str(text))
    characters = sorted({character for word in counts for character in word})
    pieces = [*SPECIAL, *characters, *(f"##{one}" for one in characters)]
    common = sorted((word for word in counts if len(word) > 1), key=lambda w: (-counts[w], w))
    pieces += common[: VOCABULARY_SIZE - len(pieces)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = splits
    inner.decoder = decoders.WordPiece()
    # The special tokens are the first of the vocabulary, in their order.
    inner.post_processor = processors.BertProcessing(
        ("[SEP]", SPECIAL.index("[SEP]")), ("[CLS]", SPECIAL.index("[CLS]"))
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_LENGTH,
    )


def _train(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, corpus: Iterator[str]
) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    started, shown = time.time(), 0.0
    for step in range(STEPS):
        texts = list(islice(corpus, ROWS_PER_STEP))
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        inputs, labels = _masked(batch["input_ids"], tokenizer)
        loss = model(input_ids=inputs, attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        optimizer.param_groups[0]["lr"] = PEAK_LEARNING_RATE * warm * (1 - step / STEPS)
        optimizer.step()
        optimizer.zero_grad()
        shown = 0.95 * shown + 0.05 * float(loss.detach())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {shown:.3f} {time.time() - started:.0f} s", flush=True)


def _masked(
    ids: torch.Tensor, tokenizer: PreTrainedTokenizerFast
) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's masking: of the chosen tokens 80 % are masked, 10 % another, 10 % themselves."""
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    chosen = (torch.rand(ids.shape) < MASKED_SHARE) & ~special
    labels = torch.where(chosen, ids, -100)
    how = torch.rand(ids.shape)
    inputs = torch.where(chosen & (how < 0.8), tokenizer.mask_token_id, ids)
    other = torch.randint(len(SPECIAL), len(tokenizer), ids.shape)
    return torch.where(chosen & (how >= 0.9), other, inputs), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ENCODER_DIR)
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
