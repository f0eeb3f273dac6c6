"""The model that a name means: a preset, a base model of this installation, a folder or a hub id.

Only a hub id (`org/name`) reaches the network, and then for its config.json alone. Weights need
not be there.
"""

from __future__ import annotations

from dataclasses import replace

from lora_engine.access import typed_path
from lora_engine.base_models import STARTER, resolve_base_model
from lora_engine.calculator.model_source import ModelSource, hub_source, path_source, preset_source
from lora_engine.calculator.presets import PRESETS
from lora_engine.settings import Settings


def named_source(name: str, settings: Settings) -> ModelSource:
    """The config of the model called `name`.

    In this order: a preset, `starter`, a folder in LORA_MODELS_DIR, a folder or config.json by its
    path, a hub id. Raises NotFound, or as `path_source` and `hub_source` do.
    """
    name = name.strip()
    if name in PRESETS:
        return preset_source(name)
    if name != STARTER:
        for path in (typed_path(settings.models_dir / name, settings), typed_path(name, settings)):
            if name and (path / "config.json").is_file() or path.suffix == ".json":
                return path_source(path)
    base = resolve_base_model(name, settings)
    if base.path is None:
        return hub_source(name)
    return replace(path_source(base.path), label=name)


def trainable_name(name: str) -> str:
    """What to call the model in a run's spec: a preset's hub id, any other name as it is."""
    if name not in PRESETS:
        return name
    return "/".join(PRESETS[name].source.split("/")[3:5])
