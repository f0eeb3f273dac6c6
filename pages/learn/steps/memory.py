"""Step: the memory that the notes name beside what the calculator counts, and why they differ."""

from __future__ import annotations

from typing import Any

from lora_engine.language import tr, translatable
from lora_engine.lesson import read_measured
from pages import CALCULATOR
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt

CARDS_GB = (8, 12, 16, 24, 32, 48, 80, 141, 192)
METHODS = {
    "full": translatable("full fine-tuning"),
    "lora": translatable("LoRA"),
    "qlora": translatable("QLoRA"),
}
# By model and method: why the two numbers differ.
REASONS = {
    ("7B", "full"): translatable(
        "60 GB is 8 bytes a weight: weights, gradients and both of Adam's numbers in 16 bits, 54 "
        "GB, and some activations. We count what is trained in 32 bits: 16 bytes a weight, and "
        "copies in 16 bits for the pass."
    ),
    ("7B", "lora"): translatable(
        "Both hold 13.5 GB of weights in 16 bits. The notes leave room for larger batches and for "
        "activations kept whole, or name the card that is bought; we count one row of 512 tokens "
        "with gradient checkpointing."
    ),
    ("7B", "qlora"): translatable(
        "In 4 bits the weights take 3.3 GB, and 1 GB stays unquantized. Again the notes leave "
        "room, or name the card."
    ),
    ("65B", "full"): translatable(
        "130 GB is 65 billion weights × 2 bytes: the model at rest, not its training. The QLoRA "
        "paper itself names more than 780 GB for training in 16 bits. So 130 against 48 compares "
        "two different things."
    ),
    ("65B", "qlora"): translatable(
        "The QLoRA paper says “a single 48 GB card”; the rest of the card is room for longer rows."
    ),
}


def build(lesson: Lesson) -> None:
    del lesson
    parts.picture("learn/memory.js", "memory", _content(), height=800, elem_id="memory-picture")
    parts.remark(
        tr(
            "The formula counts bytes for N weights of the base and N_AB numbers in A and B. What "
            "is trained takes 16 bytes: weight, gradient and both of Adam's numbers, 4 each."
        )
    )


def _content() -> dict[str, Any]:
    return {
        "rows": [
            {
                **one.model_dump(mode="json"),
                "name": tr(METHODS[one.method]),
                "why": tr(REASONS[one.model, one.method]),
            }
            for one in read_measured().memory
        ],
        "words": {
            "card": tr("Memory of your card"),
            "cards": list(CARDS_GB),
            "noted": tr("the notes say"),
            "counted": tr("we count"),
            "fits": tr("{gb} GB, fits"),
            "over": tr("{gb} GB, too much"),
            "parts": {
                "weights": tr("the base's weights"),
                "state": tr("adapter and optimizer"),
                "step": tr("gradients and activations"),
                "margin": tr("margin"),
            },
            "how": tr(
                "Counted by the Calculator: rank 8 on all linear layers, AdamW, one row of 512 "
                "tokens, gradient checkpointing. 1 GB is 10⁹ bytes, as in the notes; a card of "
                "“24 GB” has 24 GiB, which is 25.8 of these."
            ),
        },
    }


STEP = Step(
    key="memory",
    title=translatable("What it takes in memory"),
    claim=translatable(
        "LoRA saves the gradients and the optimizer's state of the frozen weights; QLoRA makes the "
        "weights themselves smaller."
    ),
    formula=(
        r"$$16\,N \;\to\; \underbrace{2\,N + 16\,N_{AB}}_{\text{LoRA}} \;\to\; "
        r"\underbrace{0.52\,N + 16\,N_{AB}}_{\text{QLoRA}}$$"
    ),
    build=build,
    try_it=(
        TryIt(
            translatable("Your model and card in Calculator"),
            CALCULATOR,
            {"preset": "llama-2-7b", "rank": 8},
        ),
    ),
)
