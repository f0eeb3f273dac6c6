"""Finding a base model by its name, and the list of those known here.

A base model is `starter` or `starter-encoder`, a folder, the name of a folder in `LORA_MODELS_DIR`,
or a hub id (`org/name`, the only name that may reach the network). Loads nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lora_engine.access import is_mine, is_open, typed_path
from lora_engine.base_models.config_cost import refuse_costly_config
from lora_engine.base_models.model_config import MAX_CONFIG_BYTES, read_config
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import read_json_object
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.starter import ENCODER_DIR, MODEL_DIR

STARTER = "starter"
STARTER_ENCODER = "starter-encoder"
BUNDLED = {STARTER: MODEL_DIR, STARTER_ENCODER: ENCODER_DIR}
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}$")


@dataclass(frozen=True)
class BaseModel:
    """A base model by name; `path` is its folder, or None for a hub id not looked at yet."""

    name: str
    path: Path | None

    @property
    def source(self) -> str:
        """What transformers' `from_pretrained` is given."""
        return str(self.path) if self.path is not None else self.name

    @property
    def is_local(self) -> bool:
        return self.path is not None


@dataclass(frozen=True)
class ModelSummary:
    """What the model lists show, read from config.json alone."""

    name: str
    path: str
    architecture: str
    weights_bytes: int


def resolve_base_model(name: str, settings: Settings) -> BaseModel:
    """The base model that a person's `name` means.

    Raises NotFound, listing the known models; EngineError where the folder is no model, naming the
    fields of its config.json that are out of bounds, and as `refuse_foreign_files` and
    `refuse_costly_config` do.
    """
    if name in BUNDLED:
        return BaseModel(name, BUNDLED[name])
    for folder in (typed_path(settings.models_dir / name, settings), typed_path(name, settings)):
        if folder.is_dir():
            refuse_foreign_files(folder)
            _refuse_no_model(folder)
            refuse_costly_config(read_config(folder), name)
            return BaseModel(name, folder.resolve())
    if HUB_ID.match(name) and not name.startswith((".", "/")):
        return BaseModel(name, None)
    known = ", ".join(summary.name for summary in list_base_models(settings))
    raise NotFound(
        tr(
            "There is no base model {name}: no such folder, and not a hub id (org/name).",
            name=f"{name!r}",
        ),
        tr(
            "Known here: {known}. Put a model folder into {models_dir}, or give a path.",
            known=known,
            models_dir=settings.models_dir,
        ),
    )


def list_base_models(settings: Settings) -> list[ModelSummary]:
    """The bundled ones, every model folder in `settings.models_dir` by name, and whole models that
    runs trained, by their path."""
    found = [_summary(name, folder) for name, folder in BUNDLED.items()]
    if settings.models_dir.is_dir():
        folders = sorted(path.parent for path in settings.models_dir.glob("*/config.json"))
        folders += sorted(path.parent for path in settings.models_dir.glob("*/*/config.json"))
        names = [(folder.relative_to(settings.models_dir), folder) for folder in folders]
        # A hidden folder is being written.
        found += [
            _summary(str(name), folder)
            for name, folder in names
            if not any(part.startswith(".") for part in name.parts) and is_open(folder, settings)
        ]
    trained = sorted(
        path.parent
        for path in settings.runs_dir.glob("*/model/config.json")
        if is_mine(path.parents[1])
    )
    return found + [_summary(str(folder), folder) for folder in trained]


def _refuse_no_model(folder: Path) -> None:
    """Raises EngineError where a file is missing, or a setting's is too large to be read whole."""
    if not (folder / "config.json").is_file():
        raise EngineError(
            tr("{folder} is not a model folder: it has no config.json.", folder=folder),
            tr("Give the folder that holds config.json, the tokenizer and the safetensors files."),
        )
    generation = folder / "generation_config.json"
    if generation.is_file() and generation.stat().st_size > MAX_CONFIG_BYTES:
        raise EngineError(
            tr("{file} is larger than 1 MiB, which no model's config is.", file=generation),
            tr("Leave the file out, or get it from the model's source again."),
        )
    if not any(path.is_file() for path in folder.glob("*.safetensors")):
        raise EngineError(
            tr("{folder} has no safetensors weights.", folder=folder),
            tr("Save the model with save_pretrained(..., safe_serialization=True)."),
        )


def _summary(name: str, folder: Path) -> ModelSummary:
    config_path = folder / "config.json"
    try:
        config = read_json_object(config_path)
        architecture = str((config.get("architectures") or [config.get("model_type")])[0])
    except (OSError, ValueError, TypeError, KeyError, IndexError):  # one bad file, not the list
        architecture = tr("unreadable config.json")
    weights_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return ModelSummary(name, str(folder), architecture, weights_bytes)


class BaseModels:
    """What the engine offers about base models."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def names(self) -> list[str]:
        """The names of the base models known here, the starter first."""
        return [model.name for model in list_base_models(self._settings)]

    def list(self) -> list[ModelSummary]:
        """The base models known here, the starter first."""
        return list_base_models(self._settings)
