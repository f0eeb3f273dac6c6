"""The bundled base's shapes and counts, made beforehand, so that a first forecast builds no model.

`prepared_profiles.json` holds what PEFT and transformers counted in it for the examples' runs and
for the same runs by every other method; `python docs/make_prepared_counts.py` writes it, and a test
compares it with a new count. Knows what is stored; builds no model.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lora_engine.calculator.model_count import ModelCount
from lora_engine.calculator.model_shape import ModelShape
from lora_engine.calculator.model_source import ModelSource
from lora_engine.spec import MethodSpec

FILE = Path(__file__).with_name("prepared_profiles.json")


def shape_of(source: ModelSource) -> ModelShape | None:
    """The shapes of a model, where they are prepared."""
    if not _is_prepared(source):
        return None
    return TypeAdapter(ModelShape).validate_python(_stored()["shape"])


def count_of(source: ModelSource, method: MethodSpec) -> ModelCount | None:
    """The count of a method in a model, where it is prepared: of this very method alone."""
    if not _is_prepared(source):
        return None
    found = _stored()["counts"].get(key_of(method))
    if found is None:
        return None
    count = TypeAdapter(ModelCount).validate_python(found)
    return replace(count, model=source.label, method=method)


def key_of(method: MethodSpec) -> str:
    """A method without what changes no count."""
    plain = {"alpha": 2.0 * method.rank, "dropout": 0.0, "loraplus_lr_ratio": None}
    return method.model_copy(update=plain).model_dump_json()


def _is_prepared(source: ModelSource) -> bool:
    return FILE.is_file() and _stored()["config_json"] == source.config_json


@cache
def _stored() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8"))
