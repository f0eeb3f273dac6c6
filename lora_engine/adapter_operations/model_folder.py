"""What stands beside the weights of a merged model: configuration, tokenizer, template, settings.

The base's own files, as they are; the configuration loses what says how weights were quantized and
gains the type they are written in. Never code, and no file outside of the base's folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_engine.base_models.stored_quantization import KEYS, MLX_KEY
from lora_engine.chat_template import (
    MORE_TEMPLATES,
    TEMPLATE_FILE,
    Templates,
    UnreadableTemplate,
    template_hash,
    templates_in,
)
from lora_engine.files import read_json_object
from lora_engine.language import tr

CONFIG_FILE = "config.json"
DTYPE_KEYS = ("dtype", "torch_dtype")
TIED = "tie_word_embeddings"
BESIDE = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab.*", "merges.txt", "*.model", "*.tiktoken", "chat_template.*",
    "preprocessor_config.json", "processor_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip


def merged_config(config: dict[str, Any], dtype: str, untied: bool) -> dict[str, Any]:
    """The base's configuration for weights in `dtype` (bfloat16, ...), none of them quantized.

    untied: embedding and head were one weight in the base and are two.
    """
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        for key in KEYS:
            part.pop(key, None)
        for key in DTYPE_KEYS:
            if key in part:
                part[key] = dtype
        if untied and (part is config or TIED in part):
            part[TIED] = False
    if isinstance(config.get(MLX_KEY), dict):
        config.pop(MLX_KEY)
    if not any(key in config for key in DTYPE_KEYS):
        config["dtype"] = dtype
    config.pop("_name_or_path", None)
    return config


def write_beside(base: Path, adapter: Path, folder: Path, template: str | None) -> tuple[str, ...]:
    """Copy the tokenizer's files, the template and the generation settings; notes for the person.

    template: of rows where the base has none, None where none is to be written. A template beside
    the adapter, with which it was trained, takes the place of the base's.
    """
    for path in _beside(base):
        (folder / path.relative_to(base)).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / path.relative_to(base))
    ours, theirs = _templates(base), _templates(adapter)
    if isinstance(theirs, str) and template_hash(theirs) != template_hash(ours):
        shutil.rmtree(folder / MORE_TEMPLATES, ignore_errors=True)
        (folder / TEMPLATE_FILE).write_text(theirs, "utf-8")
        return (
            tr("The chat template that lies beside the adapter takes the place of the base's."),
        )
    if ours is None and template is not None:
        (folder / TEMPLATE_FILE).write_text(template, "utf-8")
        return (tr("The base has no chat template; the one the rows were written with is added."),)
    return ()


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_config_document(base: Path) -> dict[str, Any]:
    """config.json as it stands there."""
    return read_json_object(base / CONFIG_FILE)


def _templates(folder: Path) -> Templates:
    try:
        return templates_in(folder)
    except UnreadableTemplate:
        return None


def _beside(base: Path) -> Iterator[Path]:
    """The files to copy: not weights, not code, and no link that leads out of the folder."""
    found = {path for pattern in BESIDE for path in base.glob(pattern)}
    found |= set((base / MORE_TEMPLATES).glob("*.jinja"))
    home = base.resolve()
    # A hub cache keeps models--x/snapshots/<revision>/file as a link into models--x/blobs.
    homes = {home, home / MORE_TEMPLATES}
    if home.parent.name == "snapshots":
        homes.add(home.parent.parent / "blobs")
    for path in sorted(found):
        if path.is_file() and path.suffix != ".py" and path.resolve().parent in homes:
            yield path
