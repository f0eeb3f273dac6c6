"""The ways to fine-tune that can be tried on one task: what each makes of a run's spec.

QLoRA and DoRA are LoRA with other fields, so a way is more than `method.finetuning_type`. Knows
nothing of whether a way works on a base model; the check before a run says that.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from lora_engine.spec.method import USED_BY, FinetuningType
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
    "bottleneck": "bottleneck adapters",
    "vera": "VeRA",
    "loha": "LoHa",
}
OF_LORA: tuple[Way, ...] = ("lora", "qlora", "dora")
OWN_SIZE = {"vera": ("rank", "dropout"), "ia3": ("target_modules",)}
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

    LoRA, QLoRA and DoRA keep the run's own adapter and learning rate where it trains LoRA. The
    others start from their own method: of the run's fields they keep those that they read, and
    their learning rate is the one that suits them. Each trains in a worker of its own, so that
    seconds and memory are its own too.
    """
    given = run.method.model_dump(mode="json", exclude_unset=True)
    is_lora = run.method.finetuning_type == "lora"
    changed: dict[str, Any] = {"quantization": None, "report.own_worker": True}
    if way in OF_LORA:
        method = given if is_lora else {}
        changed["method"] = {**method, "finetuning_type": "lora", "use_dora": way == "dora"}
        if way == "qlora":
            changed["quantization"] = {"bits": 4}
        kept = is_lora
    else:
        kind = _type_of(way)
        read = set(USED_BY[kind]).difference(OWN_SIZE.get(way, ()))
        same = run.method.finetuning_type == kind
        method = given if same else {name: given[name] for name in given if name in read}
        changed["method"] = {**method, "finetuning_type": kind}
        kept = same
    if not kept:
        suited = suited_learning_rate(run.base_model, _type_of(way))
        changed["optimization.learning_rate"] = suited
    return changed


def _type_of(way: Way) -> FinetuningType:
    if way == "lora" or way == "qlora" or way == "dora":
        return "lora"
    return way
