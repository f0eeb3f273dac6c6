"""What a person reads for a choice of the spec, where its own word is a code.

The names are English; `name_of_choice` says one in the present language. A choice that another
field has too, in another sense, is named with its field in `field_words`.
"""

from __future__ import annotations

from typing import Any

from lora_engine.adapters import KIND_NAMES
from lora_engine.language import tr, translatable
from pages.shared.field_words import words_of

CHOICE_NAMES: dict[Any, str] = {
    **KIND_NAMES,
    "full": translatable("full fine-tuning"),
    "freeze": translatable("freeze (the last layers train)"),
    "galore": "GaLore",
    "adamw": "AdamW",
    "adamw_8bit": translatable("8-bit AdamW"),
    "paged_adamw": translatable("Paged AdamW"),
    "paged_adamw_8bit": translatable("Paged 8-bit AdamW"),
    "adafactor": "Adafactor",
    4: translatable("4 bit"),
    8: translatable("8 bit"),
    "nf4": "NF4",
    "fp4": "FP4",
    "lora_only": translatable("of the adapted modules"),
    "sft": translatable("supervised answers"),
    "dpo": "DPO",
    "ipo": "IPO",
    "orpo": "ORPO",
    "kto": "KTO",
    "simpo": "SimPO",
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "json_valid": translatable("is JSON"),
    "regex": translatable("matches a pattern"),
    "equal": translatable("equals the row's answer"),
    "length": translatable("has a length"),
}


def name_of_choice(choice: Any, path: str) -> str:
    """The choice of the field at this path in words, in the present language."""
    named = words_of(path).choices
    return tr(named[choice] if choice in named else CHOICE_NAMES.get(choice, str(choice)))
