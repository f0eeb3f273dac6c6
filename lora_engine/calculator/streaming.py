"""What a base takes whose layers are read from the disk: memory for two of them, bytes a step.

Two pieces of host memory, each as large as the largest layer, and on a GPU one more of the card's;
all outside the layers is resident (training/streaming). The inputs of every layer are kept for all
batches of a step, up to MOST_KEPT_BYTES together. Knows shapes alone.
"""

from __future__ import annotations

from lora_engine.calculator.memory_request import GIB, MemoryItem, MemoryRequest
from lora_engine.calculator.model_profile import ModelProfile
from lora_engine.language import tr, translatable

SLOTS = 2
MOST_KEPT_BYTES = 1 << 30  # of layers' inputs that the batches of a step keep together
UNQUANTIZED_BYTES = 4  # beside codes: float32, by PEFT's preparation
# On the CPU, once a process and whatever the shapes: heap that loading and trying the base layer by
# layer leaves behind. Measured (docs/scale.md).
HEAP_GIB = 0.05
CODE_BYTES = {True: 0.5 + 1 / 64 + 4 / (64 * 256), False: 0.5 + 4 / 64}  # by double quantization


def can_stream(q: MemoryRequest) -> bool:
    """Whether a run of this kind can stream its base."""
    method, quantization = q.method, q.quantization
    return (
        q.trains
        and q.workload.trainer == "rankscope"
        and method.is_lora
        and not (method.use_dora or method.modules_to_save)
        and method.bias == "none"
        and method.init in ("default", "gaussian", "orthogonal")
        and (quantization is None or quantization.bits == 4)
        and q.optimization.devices == 1
        and q.workload.dtype != "float16"
    )


def streamed_items(profile: ModelProfile, q: MemoryRequest) -> list[MemoryItem]:
    """The base's weights that are in memory at a time."""
    shape = profile.shape
    rest = shape.parameters - _in_layers(profile)
    size = q.weight_bytes if q.quantization is None else UNQUANTIZED_BYTES
    slots = SLOTS if q.workload.device == "cpu" else 1
    formula = tr("{count} (embeddings, head, norms) × {size} bytes", count=f"{rest:,}", size=size)
    of_layers = tr(
        "{slots} of {layers} layers × {size} MiB, the others on the disk",
        slots=slots,
        layers=len(shape.layers),
        size=f"{_largest_layer(profile, q) / 2**20:,.0f}",
    )
    held = slots * _largest_layer(profile, q) / GIB
    items = [
        MemoryItem(
            translatable("weights outside the layers"), rest * size / GIB, formula, "weights"
        ),
        MemoryItem(translatable("streamed layers"), held, of_layers, "weights"),
    ]
    if q.workload.device == "cpu":
        once = tr("margin: what loading the base layer by layer leaves behind, once a process")
        items.append(MemoryItem(translatable("streaming overhead"), HEAP_GIB, once, "state"))
    return items


def host_bytes(profile: ModelProfile, q: MemoryRequest) -> float:
    """Beside a card's memory: the layers that are read ahead."""
    return SLOTS * _largest_layer(profile, q) if q.workload.device == "cuda" else 0.0


def kept_tokens(q: MemoryRequest, layers_bytes: float) -> float:
    """The tokens whose layers' inputs are kept together. layers_bytes: of one token, all layers."""
    step = q.tokens * q.optimization.gradient_accumulation
    return max(q.tokens, min(step, MOST_KEPT_BYTES / max(1.0, layers_bytes)))


def bytes_a_step(profile: ModelProfile, q: MemoryRequest) -> float:
    """Read from the disk in each step: every layer twice, but for the two that are there still."""
    layers = len(profile.shape.layers)
    if layers <= SLOTS:
        return 0.0
    return 2 * (layers - SLOTS) / layers * _layer_bytes(profile, q)


def _in_layers(profile: ModelProfile) -> int:
    return sum(layer.parameters for layer in profile.shape.layers)


def _layer_bytes(profile: ModelProfile, q: MemoryRequest) -> float:
    """All layers together, as they lie in memory."""
    numbers = _in_layers(profile)
    if q.quantization is None:
        return numbers * q.weight_bytes
    packed = min(numbers, profile.shape.quantizable_parameters)
    return packed * CODE_BYTES[q.quantization.double] + (numbers - packed) * UNQUANTIZED_BYTES


def _largest_layer(profile: ModelProfile, q: MemoryRequest) -> float:
    largest = max((layer.parameters for layer in profile.shape.layers), default=0)
    return _layer_bytes(profile, q) * largest / max(1, _in_layers(profile))
