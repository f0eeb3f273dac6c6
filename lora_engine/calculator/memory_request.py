"""A question about memory and its answer, as data: what is asked, the items, the stated margins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from lora_engine.calculator.choice import LoraChoice
from lora_engine.calculator.matrix_count import integer_problems
from lora_engine.calculator.model_source import ModelSource
from lora_engine.calculator.optimizer_state import OPTIMIZERS, Optimizer
from lora_engine.errors import FieldProblem, InvalidInput

GIB = 1 << 30
Method = Literal["lora", "qlora", "full", "freeze", "galore"]
Dtype = Literal["fp32", "bf16", "fp16"]
CPU_MULTIPLE = 256
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


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
class MemoryQuestion:
    """What is asked. Raises InvalidInput naming every field that is wrong.

    purpose: train, or chat (seq_length is then prompt and answer together). trainable_dtype: of
    weights that train. trainer: rankscope (packed rows, loss in chunks) or plain (padded rows, all
    logits at once, as transformers' own Trainer). freeze_layers: how many last layers `freeze`
    trains. supervised_fraction: share of tokens with a loss; only those have logits in float32.
    checkpoint_bytes: of the safetensors files, where they are at hand; they count while a CPU
    converts them.
    """

    source: ModelSource
    choice: LoraChoice = field(default_factory=LoraChoice)
    method: Method = "lora"
    purpose: Literal["train", "chat"] = "train"
    batch_size: int = 1
    seq_length: int = 2048
    optimizer: Optimizer = "adamw"
    dtype: Dtype = "bf16"
    trainable_dtype: Dtype = "fp32"
    gradient_checkpointing: bool = False
    gradient_accumulation: int = 1
    double_quantization: bool = True
    freeze_layers: int = 2
    supervised_fraction: float = 1.0
    attention: Literal["sdpa", "eager"] = "sdpa"
    device: Literal["cuda", "cpu"] = "cuda"
    trainer: Literal["rankscope", "plain"] = "rankscope"
    checkpoint_bytes: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "method": get_args(Method),
            "purpose": ("train", "chat"),
            "optimizer": OPTIMIZERS,
            "dtype": tuple(BYTES),
            "trainable_dtype": tuple(BYTES),
            "attention": ("sdpa", "eager"),
            "device": ("cuda", "cpu"),
            "trainer": ("rankscope", "plain"),
        }
        problems = [
            FieldProblem(
                name, f"got {str(getattr(self, name))[:40]!r}, {', '.join(values)} allowed"
            )
            for name, values in allowed.items()
            if getattr(self, name) not in values
        ]
        problems += [
            *integer_problems("batch_size", self.batch_size, 1, 1_000_000),
            *integer_problems("seq_length", self.seq_length, 1, 10_000_000),
            *integer_problems("gradient_accumulation", self.gradient_accumulation, 1, 1_000_000),
            *integer_problems("freeze_layers", self.freeze_layers, 1, 10_000),
        ]
        share = self.supervised_fraction
        if not isinstance(share, int | float) or not 0 < share <= 1:
            problems.append(FieldProblem("supervised_fraction", "a number above 0 up to 1 allowed"))
        if problems:
            raise InvalidInput("The memory question", problems, "Correct the fields named.")

    @property
    def has_adapter(self) -> bool:
        return self.method in ("lora", "qlora")

    @property
    def packed(self) -> bool:
        """Whether rows lie end to end: Rankscope's path, which trains adapters alone."""
        return self.trainer == "rankscope" and self.has_adapter and self.attention == "sdpa"

    @property
    def tokens(self) -> int:
        """Of one pass. On the CPU `training/forward/packed.py` fills 16-bit batches up."""
        tokens = self.batch_size * self.seq_length
        if self.packed and self.device == "cpu" and self.dtype != "fp32":
            return -(-tokens // CPU_MULTIPLE) * CPU_MULTIPLE
        return tokens


@dataclass(frozen=True)
class MemoryItem:
    """One part of the peak. gib is negative only for `overlap`."""

    name: str
    gib: float
    formula: str


@dataclass(frozen=True)
class MemoryEstimate:
    """The peak memory of one process. items sum to total_gib. host_gib: what sits in host memory
    instead (paged optimizer state)."""

    question: MemoryQuestion
    items: tuple[MemoryItem, ...]
    host_gib: float
    warnings: tuple[str, ...]

    @property
    def total_gib(self) -> float:
        return sum(item.gib for item in self.items)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.question.source.label,
            "method": self.question.method,
            "total_gib": self.total_gib,
            "host_gib": self.host_gib,
            "items": [vars(item) for item in self.items],
            "warnings": list(self.warnings),
        }


def with_changes(question: MemoryQuestion, **changes: Any) -> MemoryQuestion:
    """`question` with some fields changed, checked again."""
    return replace(question, **changes)
