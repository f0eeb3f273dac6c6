"""Well-known architectures: the real values of their published config.json, as data.

`presets.json` holds for each its title, the address of the published file, the fields of it that
decide shapes (numbers untouched), and the parameter total its publisher states. It knows no
transformers: a preset is only text until `meta_model.py` builds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Preset:
    """One published model; `config` is its config.json, reduced to what decides shapes."""

    name: str
    title: str
    source: str
    config: Mapping[str, Any]
    published_parameters: int


def _read_presets() -> Mapping[str, Preset]:
    listed = json.loads(Path(__file__).with_name("presets.json").read_text("utf-8"))
    return MappingProxyType({name: Preset(name=name, **fields) for name, fields in listed.items()})


PRESETS: Mapping[str, Preset] = _read_presets()
