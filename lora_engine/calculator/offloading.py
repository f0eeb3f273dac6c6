"""What activations in the host's memory leave on the card: one layer's. Knows items alone."""

from __future__ import annotations

from dataclasses import replace

from lora_engine.calculator.memory_request import MemoryItem, MemoryRequest
from lora_engine.language import tr


def offloads(q: MemoryRequest) -> bool:
    """Whether the activations of a request wait on the host."""
    return q.optimization.offload_activations and _is_ours_on_a_card(q)


def can_offload(q: MemoryRequest) -> bool:
    """Whether a run of this kind can keep its activations on the host."""
    in_8_bits = q.quantization is not None and q.quantization.bits == 8
    optimization = q.optimization
    divided_or_streamed = optimization.stream_base or optimization.sharding != "none"
    return _is_ours_on_a_card(q) and q.has_adapter and not (in_8_bits or divided_or_streamed)


def left_on_card(kept: MemoryItem, of_one_layer: float) -> MemoryItem:
    """What is there of the activations at a time. of_one_layer: its share of them."""
    formula = tr(
        "{formula}; {size} GiB of it in host memory, one layer's at a time on the card",
        formula=kept.formula,
        size=f"{kept.gib:.2f}",
    )
    return replace(kept, gib=kept.gib * of_one_layer, formula=formula)


def _is_ours_on_a_card(q: MemoryRequest) -> bool:
    workload = q.workload
    return q.trains and workload.device == "cuda" and workload.trainer == "rankscope"
