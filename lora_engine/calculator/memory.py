"""How much memory a training run or a chat needs at its peak, item by item, from shapes.

Every item carries its formula. The physical items (weights, adapter, gradients, optimizer) follow
from counts; activations follow autograd's rule (`activations.py`); what no shape tells (the CUDA
context, fragmentation) is a stated margin in `Margins`, to be refitted from measured runs.
"""

from __future__ import annotations

from lora_engine.calculator.memory_items import chat_items, training_items
from lora_engine.calculator.memory_request import (
    GIB,
    Margins,
    MemoryEstimate,
    MemoryItem,
    MemoryRequest,
)
from lora_engine.calculator.model_profile import ModelProfile, read_profile
from lora_engine.calculator.weight_items import weight_items
from lora_engine.language import tr, translatable

MARGINS = Margins()
ACT_IN_LAYERS = ("prefix", "ia3", "bottleneck", "vera", "loha")
"""The methods besides LoRA that keep something of their own for a layer's backward pass."""


def estimate_memory(request: MemoryRequest, margins: Margins = MARGINS) -> MemoryEstimate:
    """The peak memory that `request` asks for, item by item. Raises as `count_model` does."""
    return estimate_from(read_profile(request.source, request.method), request, margins)


def estimate_from(
    profile: ModelProfile, request: MemoryRequest, margins: Margins = MARGINS
) -> MemoryEstimate:
    """As `estimate_memory`, from a profile already read: no model is built."""
    weights = weight_items(profile, request)
    host = 0.0
    if request.trains:
        training, host = training_items(profile, request)
        items = [*weights, *training]
    else:
        items = [*weights, *chat_items(profile, request)]
    moving = sum(item.gib for item in items if not item.stays)
    on_gpu = request.workload.device == "cuda"
    share = margins.fragmentation if on_gpu else margins.cpu_fragmentation
    formula = tr("margin: {share} of what comes and goes in every step", share=f"{share:.0%}")
    items.append(MemoryItem(translatable("fragmentation"), share * moving, formula, "margin"))
    loading = _loading_item(items, request)
    if loading is not None:
        items.append(loading)
    once = tr("margin: once a process")
    if on_gpu:
        name = translatable("CUDA context")
        items.append(MemoryItem(name, margins.cuda_context_gib, once, "context"))
    else:
        name = translatable("CPU overhead")
        items.append(MemoryItem(name, margins.cpu_overhead_gib, once, "margin"))
    return MemoryEstimate(request, tuple(items), host, _memory_warnings(profile, request))


def _loading_item(items: list[MemoryItem], q: MemoryRequest) -> MemoryItem | None:
    """On the host the checkpoint lies mapped while its weights are converted: a peak of its own.

    Weights that keep their dtype are the map itself and cost nothing more.
    """
    weights = sum(item.gib for item in items if item.part == "weights")
    file = q.workload.checkpoint_bytes / GIB
    if q.trains and q.optimization.stream_base:
        return None  # read in pieces, and never mapped
    if q.workload.device != "cpu" or abs(file - weights) < 0.1 * weights:
        return None
    beyond = file + weights - sum(item.gib for item in items)
    if beyond <= 0:
        return None
    formula = tr("the checkpoint's files beside the converted weights")
    return MemoryItem(translatable("loading"), beyond, formula, "margin")


def _memory_warnings(profile: ModelProfile, q: MemoryRequest) -> tuple[str, ...]:
    warnings = list(profile.count.warnings) if q.has_adapter else []
    if q.quantization is not None and q.quantization.bits == 4 and q.workload.device == "cpu":
        warnings.append(tr("On the CPU QLoRA's peak was measured higher than LoRA's."))
    missing = [tr(name) for name in profile.shape.unmodelled]
    if q.method.finetuning_type in ACT_IN_LAYERS:
        missing.append(tr("what {method} adds to a layer", method=q.method.finetuning_type))
    if profile.shape.softcap and not q.packed:
        missing.append(tr("soft-capped attention in this trainer"))
    if q.trains and missing:
        warnings.append(
            tr(
                "The activations of these are not modelled: {parts}. The figure for activations "
                "leaves out what they keep and may be several times too low. Measure them in a run "
                "of a few steps (its peak stands in result.json).",
                parts=tr("; ").join(missing),
            )
        )
    if q.trains and not missing and not profile.shape.held_to_autograd:
        warnings.append(
            tr(
                "Activations follow the rule of kindred models and were not compared with autograd "
                "for this one. Where such were tried, the rule was up to 25 % off."
            )
        )
    packed = profile.shape.quantizable_parameters / profile.shape.parameters
    if q.quantization is not None and packed < 0.5:
        warnings.append(
            tr(
                "bitsandbytes quantizes only {share} of this model: transformers hands it plain "
                "Linear and Conv1D layers, not fused experts or a model's own Linear classes.",
                share=f"{packed:.0%}",
            )
        )
    if q.has_adapter and any(m.experts > 1 for m in profile.count.modules):
        warnings.append(
            tr(
                "An adapter on fused experts makes PEFT keep a merged copy of the experts' weights "
                "in every layer until its backward pass."
            )
        )
    return tuple(warnings)
