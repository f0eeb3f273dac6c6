"""A count as something to take away: a CSV table, a LoraConfig to paste, and a run's spec."""

from __future__ import annotations

from typing import Any

from lora_engine.adapters.lora_config import lora_arguments
from lora_engine.calculator.memory_request import MemoryRequest
from lora_engine.calculator.model_count import ModelCount, SavedModule, TrainedBias
from lora_engine.csv_text import csv_text
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import MethodSpec, RunSpec, spec_from, suited_learning_rate

ALWAYS_SHOWN = ("r", "lora_alpha", "lora_dropout", "target_modules")
PEFT_DEFAULTS: tuple[Any, ...] = (False, None, {}, "none")  # of the arguments that are left out


def modules_csv(counted: ModelCount) -> str:
    """The adapted modules as CSV: name, in_features, out_features, rank, experts, parameters."""
    rows: list[tuple[object, ...]] = [
        ("name", "in_features", "out_features", "rank", "experts", "parameters")
    ]
    for m in counted.modules:
        rows.append((m.name, m.in_features, m.out_features, m.rank, m.experts, m.parameters))
    whole_parts: list[SavedModule | TrainedBias] = [*counted.saved_modules, *counted.biases]
    rows += [(whole.name, "", "", "", "", whole.parameters) for whole in whole_parts]
    return csv_text(rows)


def lora_config_snippet(counted: ModelCount) -> str:
    """Python that makes the same adapter: a `LoraConfig` with the targets resolved."""
    arguments = lora_arguments(_resolved(counted.method, counted))
    if arguments["init_lora_weights"] is True:
        del arguments["init_lora_weights"]  # PEFT's default
    lines = [
        f"    {name}={_short(value)!r},"
        for name, value in arguments.items()
        if name in ALWAYS_SHOWN or value not in PEFT_DEFAULTS
    ]
    return "\n".join(["from peft import LoraConfig", "", "config = LoraConfig(", *lines, ")", ""])


def run_spec(base_model: str, counted: ModelCount, request: MemoryRequest) -> RunSpec:
    """The run that trains what was counted, with all that was asked about.

    The learning rate, which nothing counted depends on, is one that suits the base and the method.
    Raises InvalidInput as `spec_from` does, and EngineError for an optimizer that no run has.
    """
    workload, method = request.workload, _resolved(request.method, counted)
    other = workload.other_optimizer
    if other is not None and other != request.method.finetuning_type:
        raise EngineError(
            tr(
                "A run of Rankscope has no optimizer {other}; it is counted here only.", other=other
            ),
            tr("Choose adamw, adamw_8bit, paged_adamw, paged_adamw_8bit or adafactor."),
        )
    optimization = request.optimization.model_dump() | {
        "learning_rate": suited_learning_rate(base_model, request.method.finetuning_type),
        "precision": workload.dtype,
        "batch_size": workload.batch_size,
        "max_length": workload.seq_length,
    }
    return spec_from(
        {
            "name": f"{counted.model} r{method.rank}"[:200],
            "base_model": base_model,
            "method": method.model_dump(),
            "quantization": request.quantization and request.quantization.model_dump(),
            "optimization": optimization,
        }
    )


def _resolved(method: MethodSpec, counted: ModelCount) -> MethodSpec:
    """`method` with its shortcuts as the names that they mean in the model counted."""
    targets = counted.resolved_targets
    names = targets if isinstance(targets, str) else list(targets)
    return method.model_copy(update={"target_modules": names})


def _short(value: Any) -> Any:
    """A number without the .0 of a whole one, in a mapping too."""
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
