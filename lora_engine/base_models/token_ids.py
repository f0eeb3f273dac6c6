"""Which token ids a base model has: the rows of its embedding, and the ids its tokenizer gives out.

A token id beyond the embedding's rows is an IndexError on the processor and a dead process on a
GPU. Reads the small files of a model folder; loads nothing.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.model_config import read_config
from lora_engine.base_models.weight_files import local_folder
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.files import read_bounded, read_json_object
from lora_engine.language import tr

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
MAX_TOKENIZER_BYTES = 128 << 20  # the largest published ones have some 35 MB
PARTS = ("text_config", "llm_config", "language_config")
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def embedding_rows(base: BaseModel) -> int | None:
    """How many token ids the model has; None where its config.json is not here or does not say.

    Raises EngineError as `read_config` does.
    """
    folder = local_folder(base)
    if folder is None or not (folder / "config.json").is_file():
        return None
    return _rows(read_config(folder))


def refuse_padding_beyond(base: BaseModel) -> None:
    """Raises InvalidInput where config.json pads with an id that the embedding has no row for.

    transformers cannot build such a model. -1 stands for no token in older files.
    """
    folder = local_folder(base)
    if folder is None:
        return
    config = read_config(folder)
    rows, pad = _rows(config), config.get("pad_token_id")
    if rows is not None and type(pad) is int and not -1 <= pad < rows:
        message = tr(
            "is {pad}, and the embedding has {rows} rows (0 to {last})",
            pad=f"{pad:,}",
            rows=f"{rows:,}",
            last=f"{rows - 1:,}",
        )
        raise InvalidInput(
            tr("config.json of {name}", name=f"{base.name!r}"),
            [FieldProblem("pad_token_id", message)],
            tr("Give it an id of the model's tokenizer, or null."),
        )


def special_ids_beyond(base: BaseModel) -> list[str]:
    """A warning for each begin or end token of the configuration that the model does not have."""
    folder, rows = local_folder(base), embedding_rows(base)
    if folder is None or rows is None:
        return []
    said = []
    for name in ("config.json", "generation_config.json"):
        for key, ids in _special_ids(folder / name).items():
            beyond = [number for number in ids if not -1 <= number < rows]
            if beyond:
                said.append(
                    tr(
                        "{file} names {key} {number}, and the model's embedding has {rows} rows: "
                        "that token can neither be read nor written.",
                        file=name,
                        key=key,
                        number=f"{beyond[0]:,}",
                        rows=f"{rows:,}",
                    )
                )
    return said


def highest_token_id(folder: Path) -> int | None:
    """The highest id that the folder's tokenizer can give out; None where its files do not say.

    Raises EngineError for a tokenizer.json that is no JSON object of at most 128 MiB.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return None
    state = path.stat()
    ids = [_highest_in(path, state.st_size, state.st_mtime_ns)]
    config = folder / TOKENIZER_CONFIG
    if config.is_file():
        try:
            added = read_json_object(config, MAX_TOKENIZER_BYTES).get("added_tokens_decoder")
        except (OSError, ValueError):
            return None
        ids += [int(key) for key in added if str(key).isdecimal()] if _is_map(added) else []
    return max(ids)


@lru_cache(maxsize=8)
def _highest_in(path: Path, size: int, changed: int) -> int:
    """size and changed are of the cache's key: another file is read again."""
    try:
        document = json.loads(read_bounded(path, MAX_TOKENIZER_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(
            tr(
                "{path} cannot be read: it is no JSON object of at most {max_tokenizer_bytes} MiB.",
                path=path,
                max_tokenizer_bytes=MAX_TOKENIZER_BYTES >> 20,
            ),
            tr("Get the tokenizer's files from the model's source again."),
        ) from error
    document = document if _is_map(document) else {}
    model, added = document.get("model"), document.get("added_tokens")
    vocabulary = model.get("vocab") if _is_map(model) else None
    ids = [-1]
    if isinstance(vocabulary, dict):
        ids += [number for number in vocabulary.values() if type(number) is int]
    elif isinstance(vocabulary, list):  # Unigram: a token's id is its place
        ids.append(len(vocabulary) - 1)
    if isinstance(added, list):
        found = (entry.get("id") for entry in added if _is_map(entry))
        ids += [number for number in found if type(number) is int]
    return max(ids)


def _rows(config: dict[str, Any]) -> int | None:
    for part in (*(config.get(name) for name in PARTS), config):
        if _is_map(part) and type(part.get("vocab_size")) is int:
            return part["vocab_size"]
    return None


def _special_ids(path: Path) -> dict[str, list[int]]:
    try:
        config = read_json_object(path) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    named = {key: config.get(key) for key in SPECIAL_IDS}
    lists = {key: ids if isinstance(ids, list) else [ids] for key, ids in named.items()}
    return {key: [i for i in ids if type(i) is int] for key, ids in lists.items()}


def _is_map(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
