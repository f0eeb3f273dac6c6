"""The parts of a peak that are weights: the base's, as it is held, and the adapter's.

It describes Rankscope's own worker: trained weights in float32, the frozen base in `dtype`, and
PEFT's preparation of a 4-bit base (what is not quantized in float32).
"""

from __future__ import annotations

from lora_engine.calculator.memory_request import MemoryItem, MemoryRequest, item_of_bytes
from lora_engine.calculator.model_profile import ModelProfile, trained_parameters
from lora_engine.calculator.model_shape import ModelShape
from lora_engine.calculator.several_devices import divided_items, is_divided
from lora_engine.calculator.streaming import streamed_items
from lora_engine.language import tr, translatable
from lora_engine.spec import QuantizationSpec

BLOCK_4BIT = 64  # weights that share one constant (QLoRA, arXiv 2305.14314, section 3)
DOUBLE_BLOCK = 256  # constants that share one constant of their own
TRAINED_BYTES = 4  # of a weight that trains: always float32
IN_4_BITS = {"nf4": translatable("weights in NF4"), "fp4": translatable("weights in FP4")}
CONSTANTS = {"nf4": translatable("NF4 constants"), "fp4": translatable("FP4 constants")}


def weight_items(profile: ModelProfile, q: MemoryRequest) -> list[MemoryItem]:
    """The base's weights, and the adapter's."""
    if q.trains and q.optimization.stream_base:
        items = streamed_items(profile, q)
    elif is_divided(q):
        items = divided_items(profile, q)
    elif q.quantization is not None:
        items = _quantized_items(profile, q, q.quantization)
    elif q.has_adapter or not q.trains:
        total, b = _frozen(profile), q.weight_bytes
        formula = _weights_formula(total, b, q.workload.dtype)
        items = [item_of_bytes(translatable("weights"), total * b, formula, "weights")]
    else:
        items = [_trained_weights(profile, q)]
    if q.has_adapter:
        trained = profile.count.trainable_parameters
        formula = _weights_formula(trained, TRAINED_BYTES, "float32")
        items.append(
            item_of_bytes(translatable("adapter"), trained * TRAINED_BYTES, formula, "state")
        )
    return items


def _weights_formula(count: int, size: int, dtype: str) -> str:
    return tr(
        "{count} weights × {size} bytes ({dtype})", count=f"{count:,}", size=size, dtype=dtype
    )


def _frozen(profile: ModelProfile) -> int:
    """The base's weights without those of its biases that train along, which the adapter counts."""
    return profile.shape.parameters - profile.count.bias_parameters


def _quantized_items(
    profile: ModelProfile, q: MemoryRequest, quantization: QuantizationSpec
) -> list[MemoryItem]:
    """What bitsandbytes packs, with its constants, and what it leaves as it is."""
    shape = profile.shape
    packed = shape.quantizable_parameters
    rest = _frozen(profile) - packed
    rest_bytes = 4 if q.trains else q.weight_bytes
    why = tr("float32, by PEFT's preparation") if q.trains else q.workload.dtype
    items = _int8_items(shape) if quantization.bits == 8 else _4bit_items(packed, quantization)
    has_experts = any(many > 1 for layer in shape.layers for *_, many in layer.matrices)
    what = (
        tr("embeddings, head, norms, fused experts")
        if has_experts
        else tr("embeddings, head, norms")
    )
    formula = tr(
        "{count} ({what}) × {size} bytes ({why})",
        count=f"{rest:,}",
        what=what,
        size=rest_bytes,
        why=why,
    )
    return [
        *items,
        item_of_bytes(translatable("weights not quantized"), rest * rest_bytes, formula, "weights"),
    ]


def _int8_items(shape: ModelShape) -> list[MemoryItem]:
    """LLM.int8(): a byte a weight, and a float32 scale a row (arXiv 2208.07339, section 2)."""
    packed, rows = shape.quantizable_parameters, shape.quantizable_rows
    return [
        item_of_bytes(
            translatable("weights in int8"),
            packed,
            tr("{count} weights × 1 byte", count=f"{packed:,}"),
            "weights",
        ),
        item_of_bytes(
            translatable("int8 scales"),
            4 * rows,
            tr("{count} rows × 4 bytes (float32)", count=f"{rows:,}"),
            "weights",
        ),
    ]


def _4bit_items(packed: int, quantization: QuantizationSpec) -> list[MemoryItem]:
    """Half a byte a weight, and a constant for every 64 of them (arXiv 2305.14314, section 3)."""
    blocks = packed / BLOCK_4BIT
    if quantization.double:
        constants = blocks + 4 * blocks / DOUBLE_BLOCK
        formula = tr(
            "{count} / 64 × (1 + 4/256) bytes: constants quantized again", count=f"{packed:,}"
        )
    else:
        constants = 4 * blocks
        formula = tr("{count} / 64 × 4 bytes (float32)", count=f"{packed:,}")
    halves = tr("{count} weights × 0.5 bytes", count=f"{packed:,}")
    return [
        item_of_bytes(IN_4_BITS[quantization.type], packed / 2, halves, "weights"),
        item_of_bytes(CONSTANTS[quantization.type], constants, formula, "weights"),
    ]


def _trained_weights(profile: ModelProfile, q: MemoryRequest) -> MemoryItem:
    """Full, freeze, GaLore: trained weights in float32, frozen ones in the workload's dtype."""
    trained, b = trained_parameters(profile, q), q.weight_bytes
    frozen = profile.shape.parameters - trained
    formula = tr(
        "{frozen} frozen × {size} bytes ({dtype}) + {trained} trained × {held} bytes (float32)",
        frozen=f"{frozen:,}",
        size=b,
        dtype=q.workload.dtype,
        trained=f"{trained:,}",
        held=TRAINED_BYTES,
    )
    return item_of_bytes(
        translatable("weights"), frozen * b + trained * TRAINED_BYTES, formula, "weights"
    )
