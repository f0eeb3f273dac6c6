"""Counts that were made beforehand, so that a page opens with an answer: data, as presets are.

`prepared.json` holds what PEFT and transformers counted for one preset and method at a few ranks,
and what every other way trains in it; `python docs/make_prepared_counts.py` writes it, and a test
compares it with a new count. Knows what is stored; builds no model.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from lora_engine.calculator.model_count import ModelCount, ModuleCount
from lora_engine.calculator.model_shape import LayerShape, ModelShape
from lora_engine.calculator.model_source import ModelSource, preset_source
from lora_engine.calculator.targets import AvailableModule
from lora_engine.spec import MethodSpec

FILE = Path(__file__).with_name("prepared.json")
PRESET, TARGETS, RANK = "llama-2-7b", ("q", "v"), 8
RANKS = (1, 2, RANK)  # two ranks tell all others (counts_by_rank.py)


def method_at(rank: int) -> MethodSpec:
    """The method that is prepared."""
    return MethodSpec(rank=rank, target_modules=list(TARGETS))


@cache
def source() -> ModelSource:
    return preset_source(PRESET)


def shape_of(asked: ModelSource) -> ModelShape | None:
    """The shapes of a model, where they are prepared."""
    if not _is_prepared(asked):
        return None
    fields = _tuples(_stored()["shape"])
    return ModelShape(**{**fields, "layers": tuple(LayerShape(**one) for one in fields["layers"])})


def count_of(asked: ModelSource, method: MethodSpec) -> ModelCount | None:
    """The count of a method in a model, where it is prepared."""
    if not _is_prepared(asked) or method.rank not in RANKS or not _counts_alike(method):
        return None
    fields = _tuples(_stored()["counts"][str(method.rank)])
    modules = tuple(ModuleCount(**one) for one in fields["modules"])
    return ModelCount(**{**fields, "model": asked.label, "method": method, "modules": modules})


def trained_of(asked: ModelSource, method: MethodSpec) -> int | None:
    """How many numbers another way to fine-tune trains, where that is prepared."""
    if not _is_prepared(asked):
        return None
    return _stored()["trained"].get(method.model_dump_json())


def modules_of(asked: ModelSource, method: MethodSpec | None) -> tuple[AvailableModule, ...] | None:
    """What LoRA can adapt in a model, and what the method chooses of it, where it is prepared."""
    if not _is_prepared(asked) or method is None or not _counts_alike(method):
        return None
    return tuple(AvailableModule(**one) for one in _tuples(_stored()["modules"]))


def _is_prepared(asked: ModelSource) -> bool:
    return FILE.is_file() and asked == source()


def _counts_alike(method: MethodSpec) -> bool:
    """Whether a method is the prepared one, but for the rank and what changes no count."""
    plain = method_at(method.rank)
    uncounted = {"alpha": plain.alpha, "dropout": plain.dropout, "use_rslora": plain.use_rslora}
    return method.model_copy(update=uncounted) == plain


@cache
def _stored() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8"))


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    if isinstance(value, list):
        return tuple(_tuples(one) for one in value)
    if isinstance(value, dict):
        return {name: _tuples(one) for name, one in value.items()}
    return value
