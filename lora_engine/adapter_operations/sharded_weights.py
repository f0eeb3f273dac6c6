"""Writing a model's weights as safetensors shards, one block of one tensor at a time.

What is to be written is planned first: names, types and shapes decide every header and which shard
a tensor goes to, so no tensor is ever held whole. Knows nothing of where the numbers come from.
Layout of a file: 8 bytes little-endian header size, JSON header, the tensors without gaps
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from lora_engine.base_models.weight_files import INDEX, SINGLE
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum.progress import SILENT, WorkMonitor

SHARD_BYTES = 5 * 10**9
"""transformers' own size of a shard, before version 5 wrote larger ones."""

MIN_SHARD_BYTES = 1 << 20
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


class TensorToWrite(Protocol):
    """A tensor by name; dtype is a code of safetensors. `blocks` gives its bytes in order."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def size_bytes(self) -> int: ...

    def blocks(self) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class WrittenWeights:
    """The files that were written, in order, and the bytes of all tensors."""

    files: tuple[str, ...]
    total_bytes: int


def write_shards(
    folder: Path,
    tensors: Sequence[TensorToWrite],
    shard_bytes: int = SHARD_BYTES,
    monitor: WorkMonitor = SILENT,
) -> WrittenWeights:
    """Write model.safetensors, or shards of at most `shard_bytes` with their index.

    A tensor larger than a shard has one of its own. Raises OSError as the disk does, EngineError
    for a shard size below 1 MiB.
    """
    if shard_bytes < MIN_SHARD_BYTES:
        raise EngineError(
            tr(
                "The size of a shard is {shard_bytes} bytes; at least {min_shard_bytes} are "
                "allowed.",
                shard_bytes=f"{shard_bytes:,}",
                min_shard_bytes=f"{MIN_SHARD_BYTES:,}",
            ),
            tr("Leave it out for shards of 5 GB."),
        )
    shards = _shards(tensors, shard_bytes)
    total = sum(tensor.size_bytes for tensor in tensors)
    names = (
        [SINGLE]
        if len(shards) == 1
        else [
            f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            for number in range(1, len(shards) + 1)
        ]
    )
    done = 0
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            done = _write_file(file, shard, done, total, monitor)
    if len(shards) > 1:
        weight_map = {
            tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard
        }
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=1), "utf-8")
    return WrittenWeights(tuple(names), total)


def _shards(tensors: Sequence[TensorToWrite], shard_bytes: int) -> list[list[TensorToWrite]]:
    """The tensors in order, each in the shard before it while that has room."""
    shards: list[list[TensorToWrite]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.size_bytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.size_bytes
    return shards


def _write_file(
    file: BinaryIO, tensors: Sequence[TensorToWrite], done: int, total: int, monitor: WorkMonitor
) -> int:
    """Write one file; the bytes of tensors written so far, those of earlier files included."""
    # Wide types first, as the safetensors library orders them: every tensor starts aligned.
    ordered = sorted(tensors, key=lambda tensor: -_alignment(tensor))
    header = _header(ordered)
    file.write(len(header).to_bytes(8, "little") + header)
    for tensor in ordered:
        before = done
        for block in tensor.blocks():
            monitor.step(done / max(total, 1), tr("writing {tensor}", tensor=tensor.name))
            file.write(block)
            done += len(block)
        assert done - before == tensor.size_bytes, tensor.name
    return done


def _alignment(tensor: TensorToWrite) -> int:
    count = math.prod(tensor.shape)
    return tensor.size_bytes // count if count else 0


def _header(tensors: Sequence[TensorToWrite]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers asks for it
    place = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.size_bytes],
        }
        place += tensor.size_bytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % 8)
