"""Methods of the spec and questions about memory, written short."""

from __future__ import annotations

from typing import Any

from lora_engine.calculator import MemoryRequest, ModelSource, Workload, read_method, read_request
from lora_engine.spec import MethodSpec

NF4, FP4 = {"bits": 4}, {"bits": 4, "type": "fp4"}
INT8 = {"bits": 8}


def lora(rank: Any = 8, targets: Any = "all-linear", **fields: Any) -> MethodSpec:
    return read_method(rank=rank, target_modules=targets, **fields)


def ask(
    source: ModelSource,
    method: MethodSpec,
    *,
    kind: str = "lora",
    quantization: dict[str, Any] | None = None,
    **fields: Any,
) -> MemoryRequest:
    """A request; the other fields are those of the workload, else of the optimization."""
    document: dict[str, Any] = {
        "method": method.model_dump() | {"finetuning_type": kind},
        "quantization": quantization,
        "workload": {},
        "optimization": {},
    }
    for name, value in fields.items():
        section = "workload" if name in Workload.model_fields else "optimization"
        document[section][name] = value
    return read_request(source, document)
