"""Writes `lora_engine/calculator/prepared.json`: `python docs/make_prepared_counts.py`.

Counts the calculator's opening model anew, with what is stored left aside; a test compares both.
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

from lora_engine.calculator import methods, prepared  # noqa: E402
from lora_engine.calculator.count_parameters import available_modules, count_model  # noqa: E402
from lora_engine.calculator.model_shape import read_shape  # noqa: E402
from lora_engine.spec import WAYS, method_of_way  # noqa: E402


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


if __name__ == "__main__":
    prepared.FILE.write_text(json.dumps(counted_anew()) + "\n", "utf-8")
