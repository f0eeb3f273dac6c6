"""The memory that the notes behind this project name, and what the calculator counts for the same.

The notes say 60, 24 and 12 GB for 7B by full fine-tuning, LoRA and QLoRA, and 130 GB against 48 GB
for 65B. They name neither batch nor optimizer, so the question here is stated: one row of 512
tokens, AdamW, gradient checkpointing, rank 8 on all linear layers. Counting takes seconds (the
model's classes are loaded), so `measure` writes the answer down and a test holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lora_engine.calculator import (
    MemoryOptions,
    ModelSource,
    config_source,
    estimate_memory,
    preset_source,
)

GIB = 1 << 30
GB = 10**9
RANK, TOKENS = 8, 512
LLAMA_65B = {  # arXiv 2302.13971, table 2
    "hidden_size": 8192,
    "intermediate_size": 22016,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 64,
}


@dataclass(frozen=True)
class NotedMemory:
    """One number of the notes. method: as `memory` calls it. whole: whether it is a whole
    training's, or the weights' alone."""

    model: str
    method: str
    noted_gb: float
    whole: bool = True


NOTES = (
    NotedMemory("7B", "full", 60),
    NotedMemory("7B", "lora", 24),
    NotedMemory("7B", "qlora", 12),
    NotedMemory("65B", "full", 130, whole=False),
    NotedMemory("65B", "qlora", 48),
)


def computed_memory() -> list[dict[str, Any]]:
    """For each number of the notes what the calculator counts, in GB (10⁹ bytes), part by part."""
    return [_computed(one) for one in NOTES]


def _computed(noted: NotedMemory) -> dict[str, Any]:
    options = MemoryOptions(
        method=noted.method, rank=RANK, seq_length=TOKENS, gradient_checkpointing=True
    )
    found = estimate_memory(options.request(_source(noted.model)))
    parts = {
        "weights": found.gib_of("weights"),
        "state": found.gib_of("state"),
        "step": found.gib_of("step"),
        "margin": found.gib_of("margin", "context"),
    }
    return {
        "model": noted.model,
        "method": noted.method,
        "noted_gb": noted.noted_gb,
        "total_gb": round(found.total_gib * GIB / GB, 2),
        "parts_gb": {name: round(gib * GIB / GB, 2) for name, gib in parts.items()},
    }


def _source(model: str) -> ModelSource:
    seven = preset_source("llama-2-7b")
    return seven if model == "7B" else config_source({**seven.config, **LLAMA_65B}, "llama-65b")
