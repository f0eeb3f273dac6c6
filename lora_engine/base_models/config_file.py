"""config.json of a base model, from its folder, the local cache or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.model_config import CONFIG_FILE, MAX_CONFIG_BYTES
from lora_engine.errors import NotFound
from lora_engine.files import read_json_object
from lora_engine.language import tr


def config_of(base: BaseModel) -> dict[str, Any]:
    """config.json; empty where it cannot be read, for the loader says what is wrong with it.

    Raises NotFound for a hub id that the hub does not give.
    """
    path = base.path / CONFIG_FILE if base.path is not None else _from_hub(base.name)
    try:
        return read_json_object(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError):
        return {}


def _from_hub(name: str) -> Path:
    """config.json of a hub id, fetched. Raises NotFound where the hub does not give it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(name, CONFIG_FILE))
    except (EntryNotFoundError, OSError) as error:
        if isinstance(error, GatedRepoError):
            reason = tr("The hub gives it only to those who accepted its terms.")
        elif isinstance(error, RepositoryNotFoundError):
            reason = tr("The hub knows no such model.")
        elif isinstance(error, EntryNotFoundError) and not isinstance(error, OSError):
            reason = tr("The hub's model has no config.json.")
        else:
            reason = tr("The hub cannot be reached.")
        raise NotFound(
            tr(
                "The base model {name} is no folder here and not in the local cache. {reason}",
                name=f"{name!r}",
                reason=reason,
            ),
            tr("Check the name and the network, or give a folder that holds the model."),
        ) from error
