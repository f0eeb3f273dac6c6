"""The fingerprint of a base model: a hash that tells an adapter's base from every other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lora_engine.base_models.find import BaseModel
from lora_engine.errors import NotFound
from lora_engine.files import read_json_object
from lora_engine.language import tr

SAMPLE_BYTES = 1 << 20
MAX_CONFIG_BYTES = 20_000_000


def fingerprint(model: BaseModel) -> str:
    """A short hash that tells base models apart: sha256 over the configuration and the weights.

    Each weight file enters with its size and its first, middle and last megabyte (the first
    holds the safetensors header), so a 7B model costs no more than a small one. A fine-tune
    changes all of these; a single altered weight in between would not be seen.
    Raises NotFound for a hub id whose files are not in the local cache.
    """
    folder = model.path or _cached_snapshot(model.name)
    digest = hashlib.sha256()
    config = read_json_object(folder / "config.json", MAX_CONFIG_BYTES)
    for volatile in ("_name_or_path", "transformers_version"):
        config.pop(volatile, None)
    digest.update(json.dumps(config, sort_keys=True).encode())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for offset in (0, size // 2, max(0, size - SAMPLE_BYTES)):
                file.seek(offset)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _cached_snapshot(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise NotFound(
            tr("{hub_id} is not in the local model cache.", hub_id=hub_id),
            tr("Load the model once while online."),
        ) from error
