"""How much memory a training run or a chat needs at its peak, item by item, from shapes.

Every item carries its formula. The physical items (weights, adapter, gradients, optimizer) follow
from counts; activations follow autograd's rule (`activations.py`); what no shape tells (the CUDA
context, fragmentation) is a stated margin in `Margins`, to be refitted from measured runs.
"""

from __future__ import annotations

from lora_engine.calculator.memory_items import chat_items, training_items, weight_items
from lora_engine.calculator.memory_request import (
    GIB,
    Margins,
    MemoryEstimate,
    MemoryItem,
    MemoryQuestion,
)
from lora_engine.calculator.model_profile import ModelProfile, read_profile

MARGINS = Margins()
# Items that are allocated once and stay: they leave no holes behind.
STAYING = (
    "weights",
    "weights in NF4",
    "NF4 constants",
    "weights not quantised",
    "adapter",
    "optimizer state",
)


def estimate_memory(question: MemoryQuestion, margins: Margins = Margins()) -> MemoryEstimate:
    """The peak memory that `question` asks for, item by item. Raises as `count_model` does."""
    return estimate_from(read_profile(question.source, question.choice), question, margins)


def estimate_from(
    profile: ModelProfile, question: MemoryQuestion, margins: Margins = Margins()
) -> MemoryEstimate:
    """As `estimate_memory`, from a profile already read: no model is built."""
    weights = weight_items(profile, question)
    host = 0.0
    if question.purpose == "train":
        training, host = training_items(profile, question)
        items = [*weights, *training]
    else:
        items = [*weights, *chat_items(profile, question)]
    moving = sum(item.gib for item in items if item.name not in STAYING)
    on_gpu = question.device == "cuda"
    share = margins.fragmentation if on_gpu else margins.cpu_fragmentation
    formula = f"margin: {share:.0%} of what comes and goes in every step"
    items.append(MemoryItem("fragmentation", share * moving, formula))
    loading = _loading_item(items, question)
    if loading is not None:
        items.append(loading)
    if on_gpu:
        context = MemoryItem("CUDA context", margins.cuda_context_gib, "margin: once a process")
        items.append(context)
    else:
        overhead = margins.cpu_overhead_gib
        items.append(MemoryItem("CPU overhead", overhead, "margin: once a process"))
    return MemoryEstimate(question, tuple(items), host, _memory_warnings(profile, question))


def _loading_item(items: list[MemoryItem], q: MemoryQuestion) -> MemoryItem | None:
    """On the host the checkpoint lies mapped while its weights are converted: a peak of its own.

    Weights that keep their dtype are the map itself and cost nothing more.
    """
    weights = sum(item.gib for item in items if item.name.startswith(("weights", "NF4")))
    file = q.checkpoint_bytes / GIB
    if q.device != "cpu" or abs(file - weights) < 0.1 * weights:
        return None
    beyond = file + weights - sum(item.gib for item in items)
    if beyond <= 0:
        return None
    return MemoryItem("loading", beyond, "the checkpoint's files beside the converted weights")


def _memory_warnings(profile: ModelProfile, q: MemoryQuestion) -> tuple[str, ...]:
    warnings = list(profile.count.warnings) if q.has_adapter else []
    if q.method == "qlora" and q.device == "cpu":
        warnings.append("On the CPU QLoRA's peak was measured higher than LoRA's.")
    packed = profile.shape.quantizable_parameters / profile.shape.parameters
    if q.method == "qlora" and packed < 0.5:
        warnings.append(
            f"bitsandbytes quantises only {packed:.0%} of this model: transformers hands it plain "
            "Linear and Conv1D layers, not fused experts or a model's own Linear classes."
        )
    if q.has_adapter and any(m.experts > 1 for m in profile.count.modules):
        warnings.append(
            "An adapter on fused experts makes PEFT keep a merged copy of the experts' weights in "
            "every layer until its backward pass."
        )
    return tuple(warnings)
