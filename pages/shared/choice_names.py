"""What a person reads for a choice of the spec, where its own word is a code."""

from __future__ import annotations

from typing import Any

from lora_engine.adapters import KIND_NAMES

CHOICE_NAMES: dict[Any, str] = {
    **KIND_NAMES,
    "full": "full fine-tuning",
    "freeze": "freeze (the last layers train)",
    "galore": "GaLore",
    "adamw": "AdamW",
    "adamw_8bit": "AdamW, 8 bit",
    "paged_adamw": "AdamW, paged",
    "paged_adamw_8bit": "AdamW, paged, 8 bit",
    "adafactor": "Adafactor",
    4: "4 bit",
    8: "8 bit",
    "nf4": "NF4",
    "fp4": "FP4",
    "lora_only": "of the adapted modules",
    "sft": "supervised answers",
    "dpo": "DPO",
    "ipo": "IPO",
    "orpo": "ORPO",
    "kto": "KTO",
    "simpo": "SimPO",
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "last_number": "last number",
    "json_valid": "is JSON",
    "regex": "matches a pattern",
    "equal": "equals the row's answer",
    "length": "has a length",
}
