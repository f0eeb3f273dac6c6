"""What a method that is not LoRA trains in a whole model, counted on the meta device.

PEFT makes its own methods there and what it made is counted; bottleneck layers follow from their
formula. No weights, no GPU.
"""

from __future__ import annotations

import math
import warnings as python_warnings
from typing import TYPE_CHECKING, Any

from lora_engine.calculator.meta_model import build_errors, build_meta_model, defaulted_fields
from lora_engine.calculator.model_count import ModelCount, SavedModule
from lora_engine.calculator.model_shape import read_shape
from lora_engine.calculator.model_source import ModelSource
from lora_engine.calculator.other_config import other_config
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_BYTES, HEADER_BYTES = 4, 120  # a float32 number; a tensor's entry in the file's header


def count_other(source: ModelSource, method: MethodSpec) -> ModelCount:
    """Count what prefix, prompt, p_tuning, ia3, vera, loha or bottleneck trains in the model.

    Its tensors are among `saved_modules`, by the module they belong to. Raises InvalidInput for a
    target that matches nothing, EngineError with PEFT's own words where PEFT refuses.
    """
    model = build_meta_model(source)
    base = sum(p.numel() for p in model.parameters())
    if method.finetuning_type == "bottleneck":
        trained, saved = _bottlenecks(source, method), 0
    else:
        trained, saved = _made_by_peft(model, method)
    total, targets = sum(one.parameters for one in trained), method.target_modules
    tensors = 1 if method.added_tokens else sum(len(one.shapes) for one in trained)
    return ModelCount(
        model=source.label,
        method=method,
        base_parameters=base,
        trainable_parameters=total,
        modules=(),
        saved_modules=trained,
        biases=(),
        resolved_targets=targets if isinstance(targets, str) else tuple(targets),
        adapter_bytes=ADAPTER_BYTES * (saved or total) + HEADER_BYTES * tensors,
        warnings=(*source.notes, *defaulted_fields(source)),
    )


def _bottlenecks(source: ModelSource, method: MethodSpec) -> tuple[SavedModule, ...]:
    """Two a layer: h m + h and m h + m numbers (Houlsby et al., arXiv 1902.00751, section 2.1)."""
    shape, h = read_shape(source), method.bottleneck_size
    shapes: tuple[tuple[int, ...], ...] = ((h, shape.hidden_size), (h,))
    shapes += ((shape.hidden_size, h), (shape.hidden_size,))
    each = sum(map(math.prod, shapes))
    return tuple(
        SavedModule(f"{layer.path} ({part})", each, shapes)
        for layer in shape.layers
        for part in ("attention", "MLP")
    )


def _made_by_peft(
    model: PreTrainedModel, method: MethodSpec
) -> tuple[tuple[SavedModule, ...], int]:
    """What trains, by module; and the numbers that are saved, where those are others."""
    import torch
    from peft import get_peft_model

    config = other_config(method, model, _task_type(model))
    try:
        with python_warnings.catch_warnings(), torch.device("meta"):
            python_warnings.simplefilter("ignore")  # how PEFT reads a Conv1D is no news
            adapted = get_peft_model(model, config)
    except build_errors() as error:
        raise EngineError(
            tr(
                "PEFT refuses {finetuning_type}: {split}",
                finetuning_type=method.finetuning_type,
                split=" ".join(str(error).split())[:400],
            ),
            tr("Choose another method, such as lora, or other targets."),
        ) from error
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for path, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            owner = path.removeprefix("base_model.model.").rpartition(".")[0]
            owner = owner.partition(".ia3_l")[0].partition(".vera_")[0].partition(".hada_")[0]
            shapes.setdefault(owner, []).append(tuple(parameter.shape))
    trained = tuple(
        SavedModule(owner, sum(map(math.prod, its)), tuple(its)) for owner, its in shapes.items()
    )
    return trained, _saved_numbers(adapted, method, trained)


def _saved_numbers(adapted: Any, method: MethodSpec, trained: tuple[SavedModule, ...]) -> int:
    """Of virtual tokens, what their encoder makes; with VeRA, the random factors too."""
    if method.added_tokens:
        config = adapted.active_peft_config
        each = 2 * config.num_layers if method.finetuning_type == "prefix" else 1
        return method.added_tokens * each * config.token_dim
    tuner = adapted.base_model
    factors = [tuner.vera_A, tuner.vera_B] if method.finetuning_type == "vera" else []
    shared = sum(factor["default"].numel() for factor in factors)
    return sum(one.parameters for one in trained) + shared


def _task_type(model: PreTrainedModel) -> str:
    if model.config.is_encoder_decoder:
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"
