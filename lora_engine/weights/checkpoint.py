"""A checkpoint: one safetensors file, or a model folder with its shards, listed and read.

`open_checkpoint` reads headers only. A sharded model's index is checked before any shard is
opened: plain file names inside the folder, every tensor in the shard that the index names. A
4-bit weight appears as one tensor with its true shape. Pickled checkpoints are not opened here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lora_engine.errors import EngineError, NotFound
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.language import tr
from lora_engine.weights import limits, nf4
from lora_engine.weights.matrix import Flatten, MatrixSource, TensorInfo, to_array
from lora_engine.weights.packed_tensors import UNKNOWN, method_name, packing_method
from lora_engine.weights.safetensors_file import (
    SafetensorsFile,
    dtype_name,
    no_such_tensor,
    parse_json,
    read_tensor,
    scan,
    stored_matrix,
)
from lora_engine.weights.stored_matrix import read_exactly

SINGLE_FILES = ("model.safetensors", "adapter_model.safetensors")
INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where every tensor of a model lies. `tensors` maps its name to its scanned file."""

    path: Path
    tensors: Mapping[str, SafetensorsFile]

    def listing(self) -> tuple[TensorInfo, ...]:
        """Name, shape and dtype of every tensor, 4-bit weights as one tensor each."""
        found = []
        for name, file in self.tensors.items():
            if _part_of_packed(file, name):
                continue
            if nf4.state_name(file, name):
                state = nf4.read_state(file, name)
                found.append(TensorInfo(name, tuple(state.shape), state.quant_type))
            else:
                entry = file.entry(name)
                found.append(TensorInfo(name, entry.shape, dtype_name(entry.dtype)))
        return tuple(found)

    def matrix(self, name: str, flatten: Flatten | None = None) -> MatrixSource:
        """A weight as a matrix read in blocks. Raises EngineError when it cannot be one."""
        file = self.file_of(name)
        if nf4.state_name(file, name):
            return nf4.packed_matrix(file, name)
        _refuse_packed(file, name)
        return stored_matrix(file, name, flatten)

    def tensor(self, name: str) -> np.ndarray:
        """One whole tensor of any shape in memory, float32 or float64."""
        file = self.file_of(name)
        if nf4.state_name(file, name):
            return to_array(nf4.packed_matrix(file, name))
        _refuse_packed(file, name)
        return read_tensor(file, name)

    def stored_dtype(self, name: str) -> str:
        """The safetensors dtype code of a tensor as it lies in its file."""
        return self.file_of(name).entry(name).dtype

    def refuse_packed(self, names: Iterable[str]) -> None:
        """Raises EngineError where one of the tensors holds the codes of a quantized weight."""
        for name in names:
            if not nf4.state_name(self.file_of(name), name):
                _refuse_packed(self.file_of(name), name)

    def raw_blocks(self, name: str, size: int = 2**24) -> Iterator[bytes]:
        """A tensor's bytes as they lie in the file, `size` at a time."""
        file = self.file_of(name)
        entry = file.entry(name)
        for start in range(entry.start, entry.end, size):
            yield read_exactly(file.path, start, min(size, entry.end - start))

    def file_of(self, name: str) -> SafetensorsFile:
        """The file that holds a tensor. Raises EngineError where none does."""
        if name not in self.tensors:
            names = tuple(n for n, f in self.tensors.items() if not _part_of_packed(f, n))
            raise no_such_tensor(self.path.name, name, names)
        return self.tensors[name]


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a safetensors file, an index, or a folder that holds a model or an adapter.

    Raises NotFound when nothing is there, EngineError when what is there is not sound.
    """
    path = Path(path)
    if path.is_file():
        if path.name.endswith(".index.json"):
            return _open_sharded(path)
        return _open_single(path)
    if not path.is_dir():
        raise NotFound(tr("There is no file or folder {path}.", path=path), tr("Check the path."))
    refuse_foreign_files(path)
    if (path / INDEX_FILE).is_file():
        return _open_indexed(path)
    for name in SINGLE_FILES:
        if (path / name).is_file():
            return _open_single(_inside(path, name))
    found = sorted(file.name for file in path.glob("*.safetensors"))
    if len(found) == 1:
        return _open_single(_inside(path, found[0]))
    if found:
        raise EngineError(
            tr(
                "{name} holds {count} safetensors files and no index: {found}.",
                name=path.name,
                count=len(found),
                found=", ".join(found[:5]),
            ),
            tr("Name one of these files."),
        )
    pickled = sorted(file.name for file in path.glob("*.bin"))
    remedy = (
        tr(
            "Save the model as safetensors; pickled files such as {name} are not opened.",
            name=pickled[0],
        )
        if pickled
        else tr("Give a folder with {one} or {other}.", one=SINGLE_FILES[0], other=INDEX_FILE)
    )
    raise NotFound(tr("{path} holds no safetensors file.", path=path), remedy)


def _open_single(path: Path) -> Checkpoint:
    file = scan(path)
    return Checkpoint(path, MappingProxyType(dict.fromkeys(file.tensors, file)))


def _open_indexed(folder: Path) -> Checkpoint:
    """A folder with an index. Raises EngineError where a single file there is another answer."""
    if (folder / SINGLE_FILES[0]).is_file():
        others = sorted(set(_read_weight_map(folder / INDEX_FILE).values()) - {SINGLE_FILES[0]})
        if others:
            raise EngineError(
                tr(
                    "{name} holds two models: {single}, and the files that {index} names "
                    "({others}).",
                    name=folder.name,
                    single=SINGLE_FILES[0],
                    index=INDEX_FILE,
                    others=", ".join(others[:5]),
                ),
                tr("Keep one of them, and delete the other from the folder."),
            )
    return _open_sharded(folder / INDEX_FILE)


def _open_sharded(index: Path) -> Checkpoint:
    weight_map = _read_weight_map(index)
    names = sorted(set(weight_map.values()))
    if len(names) > limits.MAX_SHARDS:
        raise _bad(
            index,
            tr(
                "it names {count} files; at most {most} are allowed",
                count=f"{len(names):,}",
                most=f"{limits.MAX_SHARDS:,}",
            ),
        )
    shards = {name: scan(_inside(index.parent, name)) for name in names}
    for tensor, shard in weight_map.items():
        if tensor not in shards[shard].tensors:
            raise _bad(
                index,
                tr("{name} should be in {file} and is not", name=repr(tensor[:100]), file=shard),
            )
    located = {tensor: shards[shard] for tensor, shard in weight_map.items()}
    return Checkpoint(index.parent, MappingProxyType(located))


def _read_weight_map(index: Path) -> dict[str, str]:
    size = index.stat().st_size
    if size > limits.MAX_INDEX_BYTES:
        raise _bad(
            index,
            tr(
                "it has {count} bytes; at most {most} are allowed",
                count=f"{size:,}",
                most=f"{limits.MAX_INDEX_BYTES:,}",
            ),
        )
    content = parse_json(index, read_exactly(index, 0, size))
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise _bad(index, tr("it has no weight_map"))
    if len(weight_map) > limits.MAX_TENSORS:
        raise _bad(
            index,
            tr(
                "it names {count} tensors; at most {most} are allowed",
                count=f"{len(weight_map):,}",
                most=f"{limits.MAX_TENSORS:,}",
            ),
        )
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not _plain_name(shard):
            raise _bad(
                index,
                tr(
                    "it places {name} in {file}; only safetensors files in the same folder are "
                    "allowed",
                    name=repr(tensor[:100]),
                    file=repr(str(shard)[:100]),
                ),
            )
    return weight_map


def _plain_name(name: str) -> bool:
    return (
        name.endswith(".safetensors")
        and len(name) <= 255
        and name == Path(name).name
        and not any(character in name for character in "\\\0:")
        and not name.startswith(".")
    )


def _inside(folder: Path, name: str) -> Path:
    """The file `name` of a folder; a link may only lead into the same model-hub cache entry."""
    path = folder / name
    if not path.is_file():
        raise NotFound(
            tr("{name} lacks the file {name_2}.", name=folder.name, name_2=name),
            tr("Copy the whole model folder."),
        )
    real, home = path.resolve(), folder.resolve()
    # A hub cache keeps models--x/snapshots/<revision>/file as a link into models--x/blobs.
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else None
    if real.parent != home and real.parent != blobs:
        raise EngineError(
            tr(
                "{name} is a link that leads out of {name_2}; only files inside are allowed.",
                name=name,
                name_2=folder.name,
            ),
            tr("Put the file itself into the folder."),
        )
    return path


def _part_of_packed(file: SafetensorsFile, name: str) -> bool:
    """Whether this tensor only helps to read a 4-bit weight beside it."""
    return any(
        name.endswith(suffix) and nf4.state_name(file, name.removesuffix(suffix))
        for suffix in nf4.PART_SUFFIXES
    )


def _refuse_packed(file: SafetensorsFile, name: str) -> None:
    """Refuse a quantized weight whose numbers mean nothing without what stands beside it."""
    method = packing_method(file.tensors, name)
    if method is None or method == UNKNOWN:  # a matrix of whole numbers by itself is one
        return
    raise EngineError(
        tr(
            "{name} is quantized ({dtype_name}, {method_name}); of quantized weights only "
            "bitsandbytes 4-bit ones can be read.",
            name=name,
            dtype_name=dtype_name(file.entry(name).dtype),
            method_name=method_name(method),
        ),
        tr("Use the 16-bit checkpoint of this model."),
    )


def _bad(index: Path, what: str) -> EngineError:
    return EngineError(
        tr("The index {name} is not sound: {what}.", name=index.name, what=what),
        tr("Get the model folder from its source."),
    )
