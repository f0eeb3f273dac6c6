"""The safetensors files that a base model is loaded from, and the headers of what they hold.

Takes the files that transformers takes: model.safetensors, else the shards that its index names.
Reads headers, never weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lora_engine.base_models.find import BaseModel
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import read_json_object
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.language import tr
from lora_engine.weights.safetensors_file import SafetensorsFile, scan

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
MAX_INDEX_BYTES = 64 << 20  # the largest mixtures of experts name some 100,000 tensors
NAMED = 5  # tensors that an error names before it only counts


def local_folder(model: BaseModel) -> Path | None:
    """The folder of the model, for a hub id that in the cache; None where none is whole."""
    if model.path is not None:
        return model.path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model.name, local_files_only=True))
        weight_files(folder)  # the cache may hold the small files alone
    except (LocalEntryNotFoundError, HFValidationError, EngineError):
        return None
    return folder


def weight_files(folder: Path) -> list[SafetensorsFile]:
    """The scanned files, in the order of their names.

    Raises EngineError where one is missing, cut short or not sound, the index places a tensor in a
    file that does not hold it, the folder has a single file and an index of others, or an adapter
    lies in it too, and as `refuse_foreign_files` does.
    """
    refuse_foreign_files(folder)
    if (folder / ADAPTER).is_file():
        # transformers would put that adapter on top of the base, and say nothing.
        raise EngineError(
            tr(
                "{name} holds an adapter too: {adapter} beside the model's own files.",
                name=folder.name,
                adapter=ADAPTER,
            ),
            tr(
                "Move the adapter into a folder of its own; merge it first if it belongs to "
                "the model."
            ),
        )
    if (folder / SINGLE).is_file():
        _refuse_two_answers(folder)
        return [scan(folder / SINGLE)]
    weight_map = _weight_map(folder)
    missing = sorted(name for name in set(weight_map.values()) if not (folder / name).is_file())
    if missing:
        raise NotFound(
            tr(
                "{index} of {name} names {listed}, which the folder does not hold.",
                index=INDEX,
                name=folder.name,
                listed=listed(missing),
            ),
            tr("Copy the whole model folder, or download the missing files."),
        )
    files = {name: scan(folder / name) for name in sorted(set(weight_map.values()))}
    lost = [name for name, shard in weight_map.items() if name not in files[shard].tensors]
    if lost:
        raise EngineError(
            tr(
                "{index} of {name} places tensors in files that do not hold them: {listed}.",
                index=INDEX,
                name=folder.name,
                listed=listed(lost),
            ),
            tr("Get the model folder from its source again."),
        )
    return list(files.values())


def _refuse_two_answers(folder: Path) -> None:
    """Raises EngineError where an index beside the single file names others: which is the model?"""
    if not (folder / INDEX).is_file():
        return
    others = sorted(set(_weight_map(folder).values()) - {SINGLE})
    if others:
        raise EngineError(
            tr(
                "{name} holds two models: {single}, and the files that {index} names ({others}).",
                name=folder.name,
                single=SINGLE,
                index=INDEX,
                others=listed(others),
            ),
            tr("Keep one of them, and delete the other from the folder."),
        )


def _weight_map(folder: Path) -> Mapping[str, str]:
    index = folder / INDEX
    if not index.is_file():
        found = ", ".join(sorted(path.name for path in folder.glob("*.safetensors"))[:NAMED])
        raise NotFound(
            tr(
                "{name} has neither {single} nor {index}; it holds {found}.",
                name=folder.name,
                single=SINGLE,
                index=INDEX,
                found=found or tr("no weights"),
            ),
            tr("Save the model with save_pretrained(), or copy the whole model folder."),
        )
    try:
        weight_map = read_json_object(index, MAX_INDEX_BYTES).get("weight_map")
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(
            tr(
                "{index} of {name} cannot be read: it is no JSON object of at most "
                "{max_index_bytes} MiB.",
                index=INDEX,
                name=folder.name,
                max_index_bytes=MAX_INDEX_BYTES >> 20,
            ),
            tr("Get the model folder from its source again."),
        ) from error
    if not isinstance(weight_map, dict) or not weight_map or not _plain(weight_map):
        raise EngineError(
            tr(
                "{index} of {name} has no weight_map from tensors to safetensors files of "
                "the same folder.",
                index=INDEX,
                name=folder.name,
            ),
            tr("Get the model folder from its source again."),
        )
    return weight_map


def _plain(weight_map: Mapping[str, object]) -> bool:
    """Whether every file is a safetensors file named without a folder."""
    return all(
        isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")
        for name in weight_map.values()
    )


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(name[:200] for name in names[:NAMED])
    more = len(names) - NAMED
    return tr("{shown} and {count} more", shown=shown, count=f"{more:,}") if more > 0 else shown
