"""The ways to fine-tune that can be tried on one task: what each makes of a run's spec.

QLoRA and DoRA are LoRA with other fields, so a way is more than `method.finetuning_type`. Knows
nothing of whether a way works on a base model; the check before a run says that.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from lora_engine.language import translatable
from lora_engine.spec.method import USED_BY, FinetuningType, MethodSpec
from lora_engine.spec.parse import spec_from
from lora_engine.spec.recipes import suited_learning_rate
from lora_engine.spec.run import RunSpec

Way = Literal[
    "lora",
    "qlora",
    "dora",
    "full",
    "freeze",
    "prefix",
    "prompt",
    "p_tuning",
    "ia3",
    "bottleneck",
    "vera",
    "loha",
]
WAYS: tuple[Way, ...] = get_args(Way)
WAY_NAMES: dict[Way, str] = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dora": "DoRA",
    "full": "full",
    "freeze": "freeze",
    "prefix": "prefix tuning",
    "prompt": "prompt tuning",
    "p_tuning": "P-tuning",
    "ia3": "IA3",
    "bottleneck": translatable("bottleneck adapters"),
    "vera": "VeRA",
    "loha": "LoHa",
}
OWN_SIZE: dict[Way, tuple[str, ...]] = {"vera": ("rank", "dropout"), "ia3": ("target_modules",)}
"""Fields that mean something else than in LoRA: such a way has its own default."""


def way_of(run: RunSpec) -> Way | None:
    """Which way a run's spec is; None for GaLore, which is not among them."""
    kind = run.method.finetuning_type
    if kind == "lora":
        if run.quantization is not None:
            return "qlora"
        return "dora" if run.method.use_dora else "lora"
    return kind if kind != "galore" else None


def fields_of_way(way: Way, run: RunSpec) -> dict[str, Any]:
    """What the way changes in a run's spec, by dotted path, as JSON.

    Where the run's own method is of the same type, its fields and its learning rate stay. Else the
    way starts from its own method and the rate that suits it. Each trains in a worker of its own,
    so that seconds and memory are its own too.
    """
    changed: dict[str, Any] = {
        "method": _method_document(way, run.method),
        "quantization": {"bits": 4} if way == "qlora" else None,
        "report.own_worker": True,
    }
    kind = type_of_way(way)
    if run.method.finetuning_type != kind:
        changed["optimization.learning_rate"] = suited_learning_rate(run.base_model, kind)
    return changed


def method_of_way(way: Way, method: MethodSpec) -> MethodSpec:
    """The method section that the way makes of another one. Raises InvalidInput."""
    return spec_from({"method": _method_document(way, method)}).method


def type_of_way(way: Way) -> FinetuningType:
    """What `method.finetuning_type` is in a run of this way."""
    return "lora" if way == "lora" or way == "qlora" or way == "dora" else way


def _method_document(way: Way, method: MethodSpec) -> dict[str, Any]:
    """Of the fields given, those that the way reads."""
    kind = type_of_way(way)
    given = method.model_dump(mode="json", exclude_unset=True)
    if method.finetuning_type != kind:
        read = set(USED_BY.get(kind, ())).difference(OWN_SIZE.get(way, ()))
        given = {name: value for name, value in given.items() if name in read}
    changed: dict[str, Any] = {"finetuning_type": kind}
    if kind == "lora":
        changed["use_dora"] = way == "dora"
    return given | changed
