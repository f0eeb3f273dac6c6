"""A choice of the calculator as the spec of a run, and back."""

from __future__ import annotations

from typing import Any

from lora_engine.calculator.choice import LoraChoice
from lora_engine.calculator.counted import ModelCount
from lora_engine.calculator.question import MemoryQuestion
from lora_engine.errors import EngineError
from lora_engine.training.spec import MethodSpec, RunSpec, spec_from


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
        modules_to_save=tuple(method.modules_to_save),
    )


def run_spec(base_model: str, counted: ModelCount, question: MemoryQuestion) -> RunSpec:
    """The run that trains what was counted, with the batch and row length asked about.

    Raises EngineError where no run can be asked for it: another method than LoRA and QLoRA, or
    a bias on B; InvalidInput as `spec_from` does.
    """
    choice = counted.choice
    if not question.has_adapter:
        raise EngineError(
            f"A run of Rankscope trains an adapter; {question.method} is counted here only.",
            "Choose lora or qlora.",
        )
    if choice.lora_bias:
        raise EngineError(
            "A run of Rankscope trains no bias on B; lora_bias is counted here only.",
            "Untick the bias, or take the LoraConfig.",
        )
    targets = counted.resolved_targets
    method: dict[str, Any] = {
        "rank": choice.rank,
        "alpha": float(choice.lora_alpha),
        "dropout": float(choice.dropout),
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "use_rslora": choice.use_rslora,
        "use_dora": choice.use_dora,
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
                "batch_size": question.batch_size,
                "gradient_accumulation": question.gradient_accumulation,
                "max_length": question.seq_length,
            },
        }
    )
