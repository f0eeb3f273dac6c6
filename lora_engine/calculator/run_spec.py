"""A choice of the calculator as the spec of a run, and back."""

from __future__ import annotations

from typing import Any

from lora_engine.calculator.choice import LoraChoice
from lora_engine.calculator.memory_request import MemoryQuestion
from lora_engine.calculator.model_count import ModelCount
from lora_engine.errors import EngineError
from lora_engine.spec import MethodSpec, RunSpec, spec_from, suited_learning_rate

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}


def choice_of(method: MethodSpec) -> LoraChoice:
    """The choice that a run's method is: the inverse of `run_spec`."""
    targets = method.target_modules
    return LoraChoice(
        rank=method.rank,
        target_modules=targets if isinstance(targets, str) else tuple(targets),
        alpha=method.alpha,
        dropout=method.dropout,
        rank_pattern=method.rank_pattern,
        use_dora=method.use_dora,
        use_rslora=method.use_rslora,
        lora_bias=method.lora_bias,
        modules_to_save=tuple(method.modules_to_save),
    )


def run_spec(base_model: str, counted: ModelCount, question: MemoryQuestion) -> RunSpec:
    """The run that trains what was counted, with all that was asked about.

    The learning rate, which nothing counted depends on, is one that suits the base and the method.
    Raises InvalidInput as `spec_from` does, and EngineError for what no run has: an optimizer, 16
    bits that are not bfloat16.
    """
    choice, optimizer = counted.choice, question.optimizer
    if question.method == "galore" and optimizer == "galore":
        optimizer = "adamw"  # the run's own word for it: GaLore's moments are AdamW's
    if optimizer in ("sgd", "galore"):
        raise EngineError(
            f"A run of Rankscope has no optimizer {optimizer}; it is counted here only.",
            "Choose adamw, adamw_8bit, paged_adamw, paged_adamw_8bit or adafactor.",
        )
    if question.dtype not in PRECISIONS:
        raise EngineError(
            f"A run of Rankscope has no precision {question.dtype}; it is counted here only.",
            "Choose bf16 or fp32.",
        )
    targets = counted.resolved_targets
    method: dict[str, Any] = {
        "finetuning_type": "lora" if question.has_adapter else question.method,
        "freeze_layers": question.freeze_layers,
        "rank": choice.rank,
        "alpha": float(choice.lora_alpha),
        "dropout": float(choice.dropout),
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "use_rslora": choice.use_rslora,
        "use_dora": choice.use_dora,
        "lora_bias": choice.lora_bias,
        "rank_pattern": dict(choice.rank_pattern),
        "modules_to_save": list(choice.modules_to_save),
    }
    quantization = {"bits": 4, "type": "nf4", "double": question.double_quantization}
    return spec_from(
        {
            "name": f"{counted.model} r{choice.rank}"[:200],
            "base_model": base_model,
            "method": method,
            "quantization": quantization if question.method == "qlora" else None,
            "optimization": {
                "learning_rate": suited_learning_rate(base_model, question.has_adapter),
                "precision": PRECISIONS[question.dtype],
                "batch_size": question.batch_size,
                "gradient_accumulation": question.gradient_accumulation,
                "gradient_checkpointing": question.gradient_checkpointing,
                "optimizer": optimizer,
                "max_length": question.seq_length,
            },
        }
    )
