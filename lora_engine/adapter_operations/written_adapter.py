"""The one writer of an adapter folder: configuration, weights and provenance, whole or not there.

The weights are written one tensor after another, so an adapter of any size needs the memory of
one tensor. Room for the header is kept in front, because ranks are known only when a module has
been worked on. Knows nothing of where the factors come from.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lora_engine.adapter_operations.output_folder import output_folder
from lora_engine.adapters.config import CONFIG_FILE, MAX_RANK, WEIGHTS_FILE
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.limits import MAX_HEADER_BYTES, MIB
from lora_engine.weights.safetensors_file import SafetensorsFile, number_format
from lora_engine.weights.stored_matrix import read_exactly

PROVENANCE_FILE = "provenance.json"
ENTRY_BYTES = 200  # at most, of one tensor's dtype, shape and offsets in the header
COPY_BYTES = 16 * MIB
INIT_FIELDS = ("eva_config", "corda_config", "loftq_config", "lora_ga_config")
COMPANIONS = (
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
"""Files beside an adapter that say how its text becomes tokens."""

EXPERT = re.compile(r"\.experts\.\d+\.")

_STORAGE: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
}


@dataclass(frozen=True)
class ModuleScale:
    """A module's rank and scaling, as PEFT is to have them."""

    rank: int
    scaling: float

    def alpha(self, use_rslora: bool) -> float:
        """scaling * rank, or scaling * sqrt(rank) with rsLoRA: PEFT's formula backwards."""
        alpha = self.scaling * self.rank ** (0.5 if use_rslora else 1.0)
        # 2 * 8 / 8 * 3 is 6.000000000000001; a whole number is what was meant
        return round(alpha) if abs(alpha - round(alpha)) < 1e-9 * alpha else alpha


def scale_fields(scales: Mapping[str, ModuleScale], use_rslora: bool) -> dict[str, Any]:
    """r, lora_alpha, rank_pattern and alpha_pattern under which PEFT gives every module its scale.

    scales: by the module's full name (a parameter's, for fused experts). r and lora_alpha are the
    commonest pair, and a module that differs stands in both patterns under its full name.
    Raises EngineError where experts that PEFT fuses when it loads them would differ.
    """
    pairs = {name: (one.rank, one.alpha(use_rslora)) for name, one in scales.items()}
    common = Counter(pairs.values()).most_common(1)[0][0]
    keys = {name: _pattern_key(name, scales) for name, pair in pairs.items() if pair != common}
    _refuse_experts_apart(pairs)
    return {
        "r": common[0],
        "lora_alpha": common[1],
        "rank_pattern": {key: pairs[name][0] for name, key in keys.items()},
        "alpha_pattern": {key: pairs[name][1] for name, key in keys.items()},
    }


def _pattern_key(name: str, names: Iterable[str]) -> str:
    """The name; anchored where it is another module's ending, which PEFT would match too."""
    return f"^{name}" if any(other.endswith(f".{name}") for other in names) else name


def _refuse_experts_apart(pairs: Mapping[str, tuple[int, float]]) -> None:
    """PEFT fuses experts stored one by one under one rank and alpha, those of the configuration."""
    experts = [name for name in pairs if EXPERT.search(name)]
    if experts and len(set(pairs.values())) > 1:
        raise EngineError(
            tr(
                "{experts} and other experts are stored one by one; PEFT fuses them when it "
                "loads them, and takes one rank and one alpha for all modules then.",
                experts=experts[0],
            ),
            tr("Resize to a rank that all modules have."),
        )


@dataclass
class AdapterWriter:
    """Writes into the staging folder that `written_adapter` gives."""

    folder: Path
    _file: BinaryIO
    _room: int
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    _end: int = 0

    def add(self, key: str, values: np.ndarray, dtype: str) -> np.ndarray:
        """Write one tensor as `dtype` (a safetensors code) and return it as it was rounded.

        Raises EngineError for values that `dtype` cannot hold.
        """
        raw, rounded = rounded_to(values, dtype)
        if not np.isfinite(rounded).all():
            raise EngineError(
                tr(
                    "{key} has values beyond what {dtype} holds, or that are no numbers.",
                    key=key,
                    dtype=dtype,
                ),
                tr("Take the adapter in float32."),
            )
        self._append(key, dtype, values.shape, [raw.tobytes()])
        return rounded

    def copy(self, file: SafetensorsFile, key: str, written_key: str | None = None) -> None:
        """Copy a tensor byte for byte, under its own key where no other is given.

        Raises EngineError for a value that is not finite.
        """
        entry = file.entry(key)
        self._append(written_key or key, entry.dtype, entry.shape, _checked_blocks(file, key))

    def _append(
        self, key: str, dtype: str, shape: tuple[int, ...], blocks: Iterable[bytes]
    ) -> None:
        start = self._end
        for block in blocks:
            self._file.write(block)
            self._end += len(block)
        offsets = [start, self._end]
        self._entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}

    def finish(
        self,
        config: Mapping[str, Any],
        provenance: Mapping[str, Any],
        companions: Path | None = None,
    ) -> None:
        """Write the header and the two JSON files.

        companions: a folder whose tokenizer and template files go along.
        """
        header = json.dumps({"__metadata__": {"format": "pt"}, **self._entries}).encode()
        assert len(header) <= self._room
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._room) + header.ljust(self._room))
        self._write_json(CONFIG_FILE, config)
        self._write_json(PROVENANCE_FILE, provenance)
        found = [companions / name for name in COMPANIONS] if companions is not None else []
        for file in found:
            if file.is_file():
                shutil.copyfile(file, self.folder / file.name)

    def _write_json(self, name: str, document: Mapping[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(document, indent=2), "utf-8")


def header_room(keys: Iterable[str]) -> int:
    """Bytes kept for the header of a file with these tensors, after the 8 that say how many."""
    room = 200 + sum(len(json.dumps(key)) + ENTRY_BYTES for key in keys)
    return room + -room % 8


@contextmanager
def written_adapter(
    output: Path, keys: Iterable[str], overwrite: bool = False
) -> Iterator[AdapterWriter]:
    """A writer whose folder becomes `output` when the block ends without an error.

    keys: of all tensors that will be written; numbers of 8 bytes first, then 4, then 2, because
    readers want each at a multiple of its size. `finish` is called at the end of the block.
    Raises Conflict for an output that exists, EngineError where the disk refuses; nothing is left.
    """
    room = header_room(keys)
    if room > MAX_HEADER_BYTES:
        raise EngineError(
            tr(
                "{output} would need a header of {room} bytes; {max_header_bytes} are allowed.",
                output=output,
                room=f"{room:,}",
                max_header_bytes=f"{MAX_HEADER_BYTES:,}",
            ),
            tr("Work on fewer modules."),
        )
    with output_folder(output, CONFIG_FILE, overwrite) as staging:
        with (staging / WEIGHTS_FILE).open("wb") as file:
            file.seek(8 + room)
            yield AdapterWriter(staging, file, room)


def item_bytes(dtype: str) -> int:
    """Bytes of one number of a safetensors dtype that `rounded_to` writes."""
    return 2 if dtype == "BF16" else _STORAGE[dtype].itemsize


def rounded_to(values: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Values as they are stored in `dtype` (F64, F32, F16 or BF16), and the numbers they are.

    bfloat16 is rounded to nearest, ties to even, from float32.
    """
    with np.errstate(over="ignore"):
        if dtype != "BF16":
            stored = np.ascontiguousarray(values, _STORAGE[dtype])
            return stored, stored
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        raw = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        return raw, (raw.astype(np.uint32) << 16).view(np.float32)


def _checked_blocks(file: SafetensorsFile, key: str) -> Iterator[bytes]:
    entry, number = file.entry(key), number_format(file.entry(key))
    for start in range(entry.start, entry.end, COPY_BYTES):
        block = read_exactly(file.path, start, min(COPY_BYTES, entry.end - start))
        if not np.isfinite(number.widen(np.frombuffer(block, number.storage))).all():
            raise EngineError(
                tr(
                    "{key} of {path} holds values that are NaN or infinite.",
                    key=key,
                    path=file.path,
                ),
                tr("Use an earlier checkpoint of this run, or train with a lower learning rate."),
            )
        yield block


def check_rank(rank: int) -> None:
    """Raises EngineError for a rank that no adapter has."""
    if not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        raise EngineError(
            tr(
                "Rank {rank}; whole numbers from 1 to {max_rank} are possible.",
                rank=f"{rank:,}",
                max_rank=f"{MAX_RANK:,}",
            ),
            tr("Give another rank."),
        )
