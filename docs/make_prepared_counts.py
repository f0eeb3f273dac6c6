"""Writes `lora_engine/calculator/prepared.json` and `prepared_profiles.json`.

    python docs/make_prepared_counts.py

Counts the calculator's opening model, and the bundled base in the examples' runs by every method,
anew, with what is stored left aside; a test compares both.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lora_engine.advisor import METHODS  # noqa: E402
from lora_engine.advisor.forecast import by_method  # noqa: E402
from lora_engine.base_models import STARTER, resolve_base_model  # noqa: E402
from lora_engine.calculator import (  # noqa: E402
    methods,
    model_profile,
    prepared,
    prepared_profiles,
    read_method,
)
from lora_engine.calculator.count_parameters import available_modules, count_model  # noqa: E402
from lora_engine.calculator.model_shape import read_shape  # noqa: E402
from lora_engine.calculator.model_source import path_source  # noqa: E402
from lora_engine.environment import load_settings  # noqa: E402
from lora_engine.spec import RECIPES, WAYS, MethodSpec, method_of_way, recipe_spec  # noqa: E402


def counted_anew() -> dict[str, Any]:
    """What belongs into the file, as JSON reads it."""
    source, opening = prepared.source(), prepared.method_at(prepared.RANK)
    with patch.object(prepared, "_is_prepared", lambda asked: False):
        ways = {way: method_of_way(way, opening) for way in WAYS}
        document = {
            "shape": asdict(read_shape(source)),
            "counts": {rank: _count(source, rank) for rank in prepared.RANKS},
            "modules": [asdict(one) for one in available_modules(source, opening)],
            "trained": {
                way.model_dump_json(): methods._trained.__wrapped__(source, way.model_dump_json())
                for way in ways.values()
            },
        }
    return json.loads(json.dumps(document))


def _count(source: Any, rank: int) -> dict[str, Any]:
    count = count_model(source, prepared.method_at(rank))
    fields = {name: value for name, value in vars(count).items() if name not in ("model", "method")}
    return {**fields, "modules": [asdict(module) for module in count.modules]}


def profiles_anew() -> dict[str, Any]:
    """What belongs into the file of the bundled base, as JSON reads it."""
    folder = resolve_base_model(STARTER, load_settings()).path
    assert folder is not None, "the bundled base is a folder"
    source = path_source(folder)
    with patch.object(prepared_profiles, "_is_prepared", lambda asked: False):
        document = {
            "config_json": source.config_json,
            "shape": asdict(read_shape(source)),
            "counts": {
                prepared_profiles.key_of(method): _whole_count(source, method)
                for method in _example_methods()
            },
        }
    return json.loads(json.dumps(document))


def _example_methods() -> list[MethodSpec]:
    """Those of the examples on the bundled base, of the same runs by every other method, and the
    one that advice counts a unit of rank with."""
    runs = [recipe_spec(name) for name in RECIPES]
    asked = [
        by_method(one, way).method for one in runs if one.base_model == STARTER for way in METHODS
    ]
    return [*asked, read_method(rank=1)]


def _whole_count(source: Any, method: MethodSpec) -> dict[str, Any]:
    count = model_profile._count_of(source, method)
    assert not count.warnings, "warnings are words, and the file knows no language"
    return {**asdict(count), "model": "", "method": {}}


if __name__ == "__main__":
    prepared.FILE.write_text(json.dumps(counted_anew()) + "\n", "utf-8")
    prepared_profiles.FILE.write_text(json.dumps(profiles_anew()) + "\n", "utf-8")
