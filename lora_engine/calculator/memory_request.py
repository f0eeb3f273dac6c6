"""A question about memory, made of the spec's own parts, and its answer: the items of a peak.

`read_request` checks a document with the spec's own models, so that a bound, and the words for
crossing it, are the same here and in a run. Knows no model; `memory.py` answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from lora_engine.calculator.model_source import ModelSource
from lora_engine.calculator.optimizer_state import CountedOptimizer
from lora_engine.calculator.workload import BYTES, Workload
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr, translatable
from lora_engine.spec import (
    MethodSpec,
    OptimizationSpec,
    QuantizationSpec,
    field_problems,
    spec_from,
)

GIB = 1 << 30
CPU_MULTIPLE, FEW_TOKENS, FEW_MULTIPLE = 256, 512, 64  # as in training/forward/packed.py
REMEDY = translatable("Correct the fields named; docs/spec.md lists their bounds.")
Part = Literal["weights", "state", "step", "margin", "context"]
SPEC_PARTS = ("method", "quantization", "optimization")
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Margins:
    """What shapes do not tell. Refit these from measured runs, in one place.

    cuda_context_gib: the driver's context and cuBLAS workspaces, once a process (a first guess:
    0.45 to 0.6 GiB on recent cards). fragmentation: share of what comes and goes in every step
    (all but the weights and the optimizer's state) that the allocator holds without using it.
    cpu_overhead_gib, cpu_fragmentation: the same on the host, where the overhead is code loaded
    late and the threads' buffers; from benchmarks/memory_error.py.
    """

    cuda_context_gib: float = 0.5
    fragmentation: float = 0.1
    cpu_overhead_gib: float = 0.05
    cpu_fragmentation: float = 0.25


@dataclass(frozen=True)
class MemoryRequest:
    """Which run, or which chat, on which model. Make it with `read_request` to have it checked.

    Raises InvalidInput where weights that train would be quantized.
    """

    source: ModelSource
    method: MethodSpec = field(default_factory=MethodSpec)
    quantization: QuantizationSpec | None = None
    optimization: OptimizationSpec = field(default_factory=OptimizationSpec)
    workload: Workload = field(default_factory=Workload)

    def __post_init__(self) -> None:
        if self.trains and self.quantization is not None and not self.has_adapter:
            kind = self.method.finetuning_type
            found = tr(
                "{method} trains the base's own weights, which quantized weights cannot do",
                method=kind,
            )
            remedy = tr("Choose lora, or no quantization.")
            raise InvalidInput(tr("The request"), [FieldProblem("quantization", found)], remedy)

    @property
    def trains(self) -> bool:
        return self.workload.purpose == "train"

    @property
    def has_adapter(self) -> bool:
        return self.method.has_adapter

    @property
    def recomputes(self) -> bool:
        """Whether the backward pass computes each layer again from its input alone."""
        return self.optimization.gradient_checkpointing or self.optimization.stream_base

    @property
    def optimizer(self) -> CountedOptimizer:
        """The optimizer whose state counts; GaLore keeps its own."""
        if self.method.finetuning_type == "galore":
            return "galore"
        return self.workload.other_optimizer or self.optimization.optimizer

    @property
    def packed(self) -> bool:
        """Whether rows lie end to end: Rankscope's path, which trains adapters alone.

        Virtual tokens stand before each row, so such rows are padded.
        """
        is_ours = self.workload.trainer == "rankscope" and self.workload.attention == "sdpa"
        return is_ours and self.has_adapter and not self.method.added_tokens

    @property
    def weight_bytes(self) -> int:
        """Of one frozen weight that is not quantized."""
        return BYTES[self.workload.dtype]

    @property
    def compute_bytes(self) -> int:
        """Of one activation. An unquantized part in float32 makes the residual stream float32."""
        return 4 if self.quantization is not None else self.weight_bytes

    @property
    def tokens(self) -> int:
        """Of one pass. On the CPU `training/forward/packed.py` fills 16-bit batches up."""
        added = self.method.added_tokens if self.trains else 0
        tokens = self.workload.batch_size * (self.workload.seq_length + added)
        if self.packed and self.workload.device == "cpu" and self.weight_bytes == 2:
            multiple = CPU_MULTIPLE if tokens > FEW_TOKENS else FEW_MULTIPLE
            return -(-tokens // multiple) * multiple
        return tokens

    def document(self) -> dict[str, Any]:
        """The request without its model, as `read_request` takes it."""
        parts = (*SPEC_PARTS, "workload")
        values = {name: getattr(self, name) for name in parts}
        return {name: value and value.model_dump() for name, value in values.items()}


def read_request(source: ModelSource, document: Document) -> MemoryRequest:
    """The request in `method`, `quantization`, `optimization` and `workload` of a document.

    An `alpha` that is left out or null is twice the rank. Raises InvalidInput naming every field
    that is wrong by its path, in the spec's own words.
    """
    problems: list[FieldProblem] = []
    given = dict(document)
    workload = Workload()
    try:
        workload = Workload.model_validate(given.pop("workload", {}))
    except ValidationError as error:
        problems += field_problems(error, "workload")
    try:
        spec = spec_from(given)
    except InvalidInput as error:
        problems = [*error.problems, *problems]
    if problems:
        raise InvalidInput(tr("The request"), problems, tr(REMEDY))
    return MemoryRequest(source, spec.method, spec.quantization, spec.optimization, workload)


def read_method(**fields: Any) -> MethodSpec:
    """The method in these fields of the spec; modules may be one text with commas.

    Raises InvalidInput as `read_request` does.
    """
    for name in ("target_modules", "modules_to_save"):
        if name in fields:
            fields[name] = module_names(fields[name])
    return spec_from({"method": fields}).method


def module_names(given: Any) -> Any:
    """`"q_proj, v_proj"` or a sequence of names as the spec has them: a list, or `"all-linear"`."""
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",") if name.strip()]
    if not isinstance(given, list | tuple):
        return given
    names = list(dict.fromkeys(given))
    return "all-linear" if names == ["all-linear"] else names


def with_changes(request: MemoryRequest, changes: Mapping[str, Any]) -> MemoryRequest:
    """`request` with the fields at these paths changed, `workload.batch_size` for one.

    Raises as `read_request` does.
    """
    document = request.document()
    for path, value in changes.items():
        section, _, name = path.partition(".")
        if name:
            document[section] = {**document[section], name: value}
        else:
            document[section] = value
    return read_request(request.source, document)


@dataclass(frozen=True)
class MemoryItem:
    """One part of the peak. gib is negative only for `overlap`.

    part: weights (of the base) and state (adapter, optimizer) are allocated once and stay; step
    comes and goes in every step; margin is stated, not computed; context is CUDA's own.
    """

    name: str
    gib: float
    formula: str
    part: Part = "step"

    @property
    def stays(self) -> bool:
        return self.part in ("weights", "state")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "gib": self.gib, "formula": self.formula}


def item_of_bytes(name: str, size: float, formula: str, part: Part = "step") -> MemoryItem:
    """The part of the peak that takes `size` bytes."""
    return MemoryItem(name, size / GIB, formula, part)


@dataclass(frozen=True)
class MemoryEstimate:
    """The peak memory of one process. items sum to total_gib. host_gib: what sits in host memory
    instead (paged optimizer state, activations that wait there, layers read ahead)."""

    request: MemoryRequest
    items: tuple[MemoryItem, ...]
    host_gib: float
    warnings: tuple[str, ...]

    @property
    def total_gib(self) -> float:
        return sum(item.gib for item in self.items)

    def gib_of(self, *parts: Part) -> float:
        """GiB of the items of these parts."""
        return sum(item.gib for item in self.items if item.part in parts)
