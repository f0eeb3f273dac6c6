"""The short names of `memory` on the command line and of the endpoint `/memory`, as a request.

`qlora` is LoRA on a base of 4 bits, `bf16` is bfloat16. This is the only place that knows them;
everything behind it speaks the spec's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from lora_engine.calculator.memory_request import (
    MemoryEstimate,
    MemoryRequest,
    module_names,
    read_request,
)
from lora_engine.calculator.model_source import ModelSource
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec import MethodSpec, OptimizationSpec

KINDS = get_args(MethodSpec.model_fields["finetuning_type"].annotation)
METHODS = ("lora", "qlora", *(kind for kind in KINDS if kind != "lora"))
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
COUNTED_ONLY = ("galore", "sgd")  # optimizers that no run offers
OPTIMIZERS = (*get_args(OptimizationSpec.model_fields["optimizer"].annotation), *COUNTED_ONLY)


@dataclass(frozen=True)
class MemoryOptions:
    """What `memory` asks for, under its own names. `request` checks it.

    method: one of METHODS; bits: 4 or 8 quantize the base, 0 does not (qlora means 4);
    target_modules: names and shortcuts with commas; dtype: one of DTYPES; optimizer: one of
    OPTIMIZERS.
    """

    method: str = "lora"
    rank: int = 8
    target_modules: str = "all-linear"
    batch_size: int = 1
    seq_length: int = 2048
    optimizer: str = "adamw"
    dtype: str = "bf16"
    gradient_checkpointing: bool = False
    offload_activations: bool = False
    trainer: str = "rankscope"
    bits: int = 0
    stream_base: bool = False

    def request(self, source: ModelSource) -> MemoryRequest:
        """Raises InvalidInput naming every field that is wrong, those of the spec by its paths."""
        problems = [
            FieldProblem(
                name,
                tr(
                    "got {given}; {names} are allowed",
                    given=f"{str(given)[:40]!r}",
                    names=", ".join(names),
                ),
            )
            for name, given, names in (
                ("method", self.method, METHODS),
                ("dtype", self.dtype, DTYPES),
                ("optimizer", self.optimizer, OPTIMIZERS),
            )
            if given not in names
        ]
        try:
            request = read_request(source, self._document())
        except InvalidInput as error:
            problems += error.problems
        if problems:
            raise InvalidInput(tr("The request"), problems, tr("Correct the fields named."))
        return request

    def _document(self) -> dict[str, Any]:
        """The spec's words; a name that is wrong is left at its default."""
        optimization: dict[str, Any] = {
            "gradient_checkpointing": self.gradient_checkpointing,
            "offload_activations": self.offload_activations,
            "stream_base": self.stream_base,
        }
        is_run_optimizer = self.optimizer in OPTIMIZERS and self.optimizer not in COUNTED_ONLY
        if is_run_optimizer:
            optimization["optimizer"] = self.optimizer
        bits = self.bits or (4 if self.method == "qlora" else 0)
        return {
            "method": {
                "finetuning_type": self.method if self.method in KINDS else "lora",
                "rank": self.rank,
                "target_modules": module_names(self.target_modules),
            },
            "quantization": {"bits": bits} if bits else None,
            "optimization": optimization,
            "workload": {
                "batch_size": self.batch_size,
                "seq_length": self.seq_length,
                "dtype": DTYPES.get(self.dtype, "bfloat16"),
                "trainer": self.trainer,
                "other_optimizer": self.optimizer if self.optimizer in COUNTED_ONLY else None,
            },
        }


def method_name(request: MemoryRequest) -> str:
    """The short name of a request's method."""
    quantization = request.quantization
    in_4_bits = quantization is not None and quantization.bits == 4
    return "qlora" if in_4_bits and request.method.is_lora else request.method.finetuning_type


def estimate_json(estimate: MemoryEstimate) -> dict[str, Any]:
    """An estimate under the names of the command line."""
    request = estimate.request
    return {
        "model": request.source.label,
        "method": method_name(request),
        "quantization": request.quantization and request.quantization.model_dump(),
        "total_gib": estimate.total_gib,
        "host_gib": estimate.host_gib,
        "items": [item.to_json() for item in estimate.items],
        "warnings": list(estimate.warnings),
    }
