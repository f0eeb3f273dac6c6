"""A LoRA adapter as a GGUF file for llama.cpp, and such a file read back as a PEFT adapter.

    delta_weight = adapter.lora.alpha / rank * lora_b @ lora_a,  rank that of the tensor itself

with lora_a (rank, in_features) and lora_b (out_features, rank), named after the weight that they
adapt. Written from the portable form, where alpha is the rank. Only files that this program or
llama.cpp's converter has just written are read back: this is no reader of foreign files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lora_engine.adapter_operations.source_adapter import (
    SourceAdapter,
    open_source,
    written_config,
    written_provenance,
)
from lora_engine.adapter_operations.written_adapter import (
    ModuleScale,
    scale_fields,
    written_adapter,
)
from lora_engine.adapters.weights_keys import factor_keys
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.export.gguf_names import GgufBase
from lora_engine.export.portable import plain_fields
from lora_engine.language import tr
from lora_engine.spectrum import ReportProgress, WorkMonitor

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter

ADAPTER_FILE = "adapter.gguf"
PARTS = (".lora_a", ".lora_b")
NUMBERS = {"F16": np.dtype("<f2")}
"""What each stored type becomes; another one becomes float32, which holds bfloat16 exactly."""


def write_adapter_gguf(
    portable: Path,
    file: Path,
    base: GgufBase,
    name: str,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> None:
    """Write the portable adapter in that folder as `file`, one module after another.

    name: the adapter's, for the file's general.name.
    Raises EngineError naming a module that llama.cpp cannot adapt; Stopped.
    """
    from gguf import GGUFType, Keys

    source = open_source(portable)
    monitor = WorkMonitor(progress, stop)
    holders = source.stored.holders
    names = base.tensor_names(holders)
    with gguf_file(file, base.kind.architecture) as writer:
        writer.add_type(GGUFType.ADAPTER)
        writer.add_name(name)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, float(source.stored.config.lora_alpha))
        for holder in holders:
            number = _number(source, holder)
            for part, entry in zip(PARTS, source.entries(holder), strict=True):
                size = int(np.prod(entry.shape)) * number.itemsize
                writer.add_tensor_info(names[holder] + part, entry.shape, number, size)
        write_header(writer)
        for position, holder in enumerate(holders):
            monitor.step(position / len(holders), tr("writing {tensor}", tensor=names[holder]))
            (factors,) = source.factors(holder)
            for values in (factors.right, base.interleaved(holder, factors.left)):
                writer.write_tensor_data(np.ascontiguousarray(values, _number(source, holder)))


def read_adapter_gguf(file: Path, source: Path, base: GgufBase, output: Path) -> None:
    """Write the adapter in `file` into `output` as PEFT has it, in float32.

    source: the folder that the file was made from, whose names and configuration are taken.
    Raises EngineError where the file holds other tensors than that adapter, or no LoRA.
    """
    opened = open_source(source)
    holders = opened.stored.holders
    names = base.tensor_names(holders)
    alpha, tensors = _contents(file)
    wanted = {names[holder] + part for holder in holders for part in PARTS}
    if set(tensors) != wanted:
        other = sorted(set(tensors) ^ wanted)[0]
        raise EngineError(
            tr(
                "{file} and {name} do not adapt the same weights: {other} is in one of them.",
                file=file,
                name=opened.name,
                other=other,
            ),
            tr("Export the adapter again."),
        )
    ranks = {holder: tensors[names[holder] + PARTS[0]].shape[0] for holder in holders}
    scales = {holder: ModuleScale(rank, alpha / rank) for holder, rank in ranks.items()}
    rank = max(ranks.values())
    with written_adapter(output, opened.stored.file.tensors) as writer:
        for holder in holders:
            key_a, key_b = factor_keys(opened.stored.keys.factors[holder])
            lora_a, lora_b = (tensors[names[holder] + part] for part in PARTS)
            writer.add(key_a, lora_a, "F32")
            writer.add(key_b, base.undone(holder, lora_b), "F32")
        writer.finish(
            written_config(opened, {**plain_fields(opened, rank), **scale_fields(scales, False)}),
            written_provenance(opened.provenance, {"kind": "read back from GGUF"}),
            companions=opened.path,
        )


@contextmanager
def gguf_file(file: Path, architecture: str) -> Iterator[GGUFWriter]:
    """A writer of GGUF, closed after the block."""
    from gguf import GGUFWriter

    writer = GGUFWriter(file, architecture)
    try:
        yield writer
    finally:
        writer.close()


def write_header(writer: GGUFWriter) -> None:
    """Everything before the numbers; tensors follow in the order in which they were announced."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def _number(source: SourceAdapter, holder: str) -> np.dtype:
    return NUMBERS.get(source.dtype(holder), np.dtype("<f4"))


def _contents(file: Path) -> tuple[float, Mapping[str, np.ndarray]]:
    """alpha, and the tensors by name in float32."""
    from gguf import GGMLQuantizationType, GGUFReader, Keys

    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, KeyError) as error:
        raise EngineError(
            tr("{file} cannot be read as GGUF: {error}.", file=file, error=error),
            tr("Export the adapter again."),
        ) from error
    kind = _value(reader, Keys.General.TYPE), _value(reader, Keys.Adapter.TYPE)
    alpha = _value(reader, Keys.Adapter.LORA_ALPHA)
    if kind != ("adapter", "lora") or not isinstance(alpha, float):
        raise EngineError(
            tr("{file} is no LoRA adapter but {kind}.", file=file, kind=kind),
            tr("Export the adapter again."),
        )
    for one in reader.tensors:
        if one.tensor_type not in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            raise EngineError(
                tr(
                    "{file} stores {name} as {name_2}; F32 and F16 are read back.",
                    file=file,
                    name=one.name,
                    name_2=one.tensor_type.name,
                ),
                tr("Export the adapter again."),
            )
    tensors = {one.name: np.asarray(one.data, np.float32) for one in reader.tensors}
    return alpha, tensors


def _value(reader: GGUFReader, key: str) -> object:
    field = reader.get_field(key)
    return None if field is None else field.contents()
