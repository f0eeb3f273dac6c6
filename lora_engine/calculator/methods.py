"""LoRA beside the other ways to fine-tune: what each trains, its optimizer state, its latency.

Counts come from PEFT itself where it has the method; full, freeze and Houlsby's adapters from their
formulas. It says nothing of quality: `measured_methods` trains each and measures that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from lora_engine.calculator import prepared
from lora_engine.calculator.count_other import count_other
from lora_engine.calculator.count_parameters import count_model
from lora_engine.calculator.memory_request import GIB, MemoryRequest
from lora_engine.calculator.model_profile import read_profile, trained_parameters
from lora_engine.calculator.model_source import ModelSource
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.spec import (
    VIRTUAL_TOKEN_TYPES,
    WAY_NAMES,
    WAYS,
    WHOLE_MODEL_TYPES,
    MethodSpec,
    Way,
    method_of_way,
)

FORMULAS: dict[Way, str] = {
    "lora": translatable("sum of r (in + out) over the targets"),
    "qlora": translatable("as LoRA, on a base in 4 bits"),
    "dora": translatable("as LoRA, and one magnitude a row of each target"),
    "full": translatable("every weight"),
    "freeze": translatable("every weight of the last layers"),
    "prefix": translatable("virtual tokens × layers × 2 × key width"),
    "prompt": translatable("virtual tokens × d"),
    "p_tuning": translatable("virtual tokens × d, and a network of three layers that makes them"),
    "ia3": translatable("one factor a key, a value and an inner MLP width"),
    "bottleneck": translatable("layers × 2 × (2 m d + d + m), arXiv 1902.00751"),
    "vera": translatable("sum of r + out over the targets; the random factors are shared"),
    "loha": translatable("sum of 2 r (in + out) over the targets"),
}
MERGED = translatable("none once merged")
LATENCIES: dict[Way, str] = {
    "lora": MERGED,
    "qlora": translatable("4-bit weights are unpacked at every step"),
    "dora": MERGED,
    "full": translatable("none"),
    "freeze": translatable("none"),
    "prefix": translatable("longer keys and values in every layer"),
    "prompt": translatable("a longer input"),
    "p_tuning": translatable("a longer input"),
    "ia3": MERGED,
    "bottleneck": translatable("two more layers in sequence in every layer; cannot be merged"),
    "vera": MERGED,
    "loha": MERGED,
}
BY_FORMULA: tuple[Way, ...] = ("full", "freeze", "bottleneck")
ADDS_LATENCY: tuple[Way, ...] = ("qlora", "prefix", "prompt", "p_tuning", "bottleneck")
KEPT = 256  # counts in memory: on a page most fields change none of the other methods
ADAM_BYTES = 8  # two float32 moments a trained weight


@dataclass(frozen=True)
class MethodCount:
    """One row of the comparison.

    trainable_parameters: None where the method does not apply, and then `note` says why.
    optimizer_state_gib: AdamW with float32 moments. adds_latency: whether an answer takes longer
    after training than from the base model. counted_by: PEFT, or the formula.
    formula: what the count amounts to, in words.
    """

    way: Way
    method: str
    trainable_parameters: int | None
    trainable_fraction: float | None
    optimizer_state_gib: float | None
    adds_latency: bool
    latency: str
    counted_by: str
    formula: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_methods(source: ModelSource, method: MethodSpec) -> tuple[MethodCount, ...]:
    """Every way to fine-tune the model of `source`; sizes as `method` has them, where it has.

    Raises as `count_model` does for LoRA; what another way cannot is in its row.
    """
    lora = method_of_way("lora", method)
    base = read_profile(source, lora).shape.parameters
    return tuple(_count(source, way, method_of_way(way, method), base) for way in WAYS)


def _count(source: ModelSource, way: Way, method: MethodSpec, base: int) -> MethodCount:
    try:
        trained = _trained(source, method.model_dump_json())
    except EngineError as error:
        if way == "lora":
            raise
        return _row(way, method, None, base, " ".join(error.problem.split())[:250])
    return _row(way, method, trained, base)


@lru_cache(KEPT)
def _trained(source: ModelSource, asked: str) -> int:
    """How many numbers train with a method, given as JSON.

    Raises EngineError where it does not apply.
    """
    method = MethodSpec.model_validate_json(asked)
    kind = method.finetuning_type
    known = prepared.trained_of(source, method)
    if known is not None:
        return known
    if kind == "lora":
        return count_model(source, method).trainable_parameters
    if kind in WHOLE_MODEL_TYPES:
        profile = read_profile(source, method_of_way("lora", method))
        return trained_parameters(profile, MemoryRequest(source, method))
    return count_other(source, method).trainable_parameters


def _row(
    way: Way, method: MethodSpec, trained: int | None, base: int, problem: str = ""
) -> MethodCount:
    return MethodCount(
        way=way,
        method=WAY_NAMES[way],
        trainable_parameters=trained,
        trainable_fraction=None if trained is None else trained / base,
        optimizer_state_gib=None if trained is None else ADAM_BYTES * trained / GIB,
        adds_latency=way in ADDS_LATENCY,
        latency=LATENCIES[way],
        counted_by=translatable("the formula") if way in BY_FORMULA else "PEFT",
        formula=FORMULAS[way],
        note=problem or _note(way, method),
    )


def _note(way: Way, method: MethodSpec) -> str:
    """The sizes that were counted."""
    if way in VIRTUAL_TOKEN_TYPES:
        return tr("{count} virtual tokens", count=f"{method.virtual_tokens:,}")
    if way == "freeze":
        return tr("the last {count} layers", count=f"{method.freeze_layers:,}")
    if way == "bottleneck":
        return tr(
            "m = {size}; layer norms, which the paper trains too, are not counted",
            size=f"{method.bottleneck_size:,}",
        )
    if way == "ia3":
        return tr("the keys, the values and the MLP's last weight")
    return tr("rank {rank}", rank=f"{method.rank:,}") if way != "full" else ""
