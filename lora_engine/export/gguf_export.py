"""GGUF files for llama.cpp: of an adapter, of its base, or of both merged.

Written by llama.cpp's converters where they are here (LLAMA_CPP_DIR), else by our writers. An
adapter goes through its portable form, because llama.cpp scales by alpha over each tensor's rank
and knows nothing else.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapter_operations.merge import merge
from lora_engine.adapter_operations.merge_report import DType, MergeOptions
from lora_engine.adapter_operations.output_folder import output_folder
from lora_engine.adapter_operations.source_adapter import open_source
from lora_engine.adapter_operations.written_adapter import COMPANIONS
from lora_engine.base_models import BaseModel
from lora_engine.base_models.model_config import read_config
from lora_engine.base_models.pretrained import UNFIT, in_one_line
from lora_engine.base_models.weight_files import local_folder
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.export.gguf_adapter import ADAPTER_FILE, read_adapter_gguf, write_adapter_gguf
from lora_engine.export.gguf_model import refuse_other_models, write_model_gguf
from lora_engine.export.gguf_names import gguf_base
from lora_engine.export.llama_cpp import (
    CONVERT_ADAPTER,
    CONVERT_MODEL,
    convert_adapter,
    convert_model,
)
from lora_engine.export.portable import PortableReport, portable, write_readme
from lora_engine.language import tr, translatable
from lora_engine.library_imports import import_transformers
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress

BASE_FILE, MERGED_FILE = "base.gguf", "merged.gguf"
AS_CONVERTED = translatable("The file stands as it was written.")


@dataclass(frozen=True)
class GgufReport:
    """A written file, from the portable adapter that `portable` tells of."""

    path: Path
    portable: PortableReport
    notes: tuple[str, ...]


def write_gguf(
    source: Path,
    output: Path,
    base: BaseModel,
    settings: Settings,
    *,
    with_base: bool = False,
    readme: str = "",
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> GgufReport:
    """Write `adapter.gguf` into the folder `output`, whole or not there.

    base: what the adapter was trained on; its configuration alone is read, unless with_base writes
    it as `base.gguf` too. readme: the text of a README.md beside them, empty for none.
    Raises EngineError for what a plain adapter cannot say, for a base whose names in GGUF are not
    known while LLAMA_CPP_DIR is not set, and where llama.cpp's converter fails; Conflict for an
    output that exists; Stopped.
    """
    folder, name = _folder(base), open_source(source).name
    converter = settings.llama_cpp_dir
    if with_base and converter is None:
        refuse_other_models(base.name, folder)
    with (
        output_folder(output, ADAPTER_FILE, overwrite) as staging,
        tempfile.TemporaryDirectory(dir=staging) as scratch,
    ):
        plain, file = Path(scratch) / name, staging / ADAPTER_FILE
        if converter is None:
            known = gguf_base(base.name, read_config(folder))
            written = portable(source, plain, stop=stop)
            write_adapter_gguf(plain, file, known, name, progress=progress, stop=stop)
        else:
            written = portable(source, plain, progress=progress, stop=stop)
            convert_adapter(converter, plain, folder, file, stop)
        write_readme(staging, readme)
        notes = [_written_by(ADAPTER_FILE, CONVERT_ADAPTER, converter)]
        if with_base:
            whole = BaseModel(base.name, folder)
            notes.append(_convert_whole(whole, staging / BASE_FILE, settings, progress, stop))
    return GgufReport(output / ADAPTER_FILE, written, tuple(notes))


def write_merged_gguf(
    source: Path,
    output: Path,
    base: BaseModel,
    settings: Settings,
    *,
    dtype: DType | None = None,
    readme: str = "",
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> tuple[str, ...]:
    """Merge the adapter into its base and write `merged.gguf` into the folder `output`; the notes.

    dtype: of the merged weights; None keeps the base's. readme: as in `write_gguf`. The merged
    model itself is written beside it for the time being, so the disk holds it twice.
    Raises EngineError as `merge`, as `write_model_gguf` while LLAMA_CPP_DIR is not set, and where
    llama.cpp's converter fails; Conflict for an output that exists; Stopped.
    """
    if settings.llama_cpp_dir is None:
        refuse_other_models(base.name, _folder(base))
    with (
        output_folder(output, MERGED_FILE, overwrite) as staging,
        tempfile.TemporaryDirectory(dir=staging) as scratch,
    ):
        name = f"{open_source(source).name} on {base.name}"
        options, folder = MergeOptions(dtype=dtype, prove=False), Path(scratch) / "merged"
        merged = merge(source, base, folder, settings, options, progress=progress, stop=stop)
        whole = BaseModel(name, folder)
        note = _convert_whole(whole, staging / MERGED_FILE, settings, progress, stop)
        write_readme(staging, readme)
    return (*merged.notes, note)


def _convert_whole(
    model: BaseModel,
    file: Path,
    settings: Settings,
    progress: ReportProgress | None,
    stop: StopSignal,
) -> str:
    """Write a model in a folder as one file; who wrote it, in a sentence."""
    folder, converter = _folder(model), settings.llama_cpp_dir
    if converter is None:
        write_model_gguf(model, folder, file, progress=progress, stop=stop)
    else:
        convert_model(converter, folder, file, stop)
    return _written_by(file.name, CONVERT_MODEL, converter)


def _written_by(file: str, script: str, converter: Path | None) -> str:
    """By whose converter, in a sentence."""
    if converter is None:
        return tr("{file} was written here, with llama.cpp's package gguf.", file=file)
    return tr(
        "{file} was written by {script} of {folder}.", file=file, script=script, folder=converter
    )


def read_back_whole(file: Path, base: BaseModel, output: Path) -> None:
    """The merged model in `file` as a model folder `output`, read by transformers' own reader.

    base: whose tokenizer and generation settings go along, and whose type of weights is taken.
    Raises EngineError for a kind of model that transformers does not read from GGUF.
    """
    import_transformers()
    from transformers import AutoModelForCausalLM

    folder = _folder(base)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, local_files_only=True, trust_remote_code=False
        )
    except UNFIT as error:
        raise EngineError(
            tr(
                "{name} cannot be read back by transformers: {in_one_line}",
                name=file.name,
                in_one_line=in_one_line(error),
            ),
            tr(AS_CONVERTED),
        ) from error
    model.hf_quantizer.remove_quantization_config(model)  # as plain numbers, which they are
    model.save_pretrained(output)
    for name in (*COMPANIONS, "generation_config.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, output / name)


def read_back(file: Path, source: Path, base: BaseModel, output: Path) -> None:
    """The adapter in `file`, made from the one in `source`, as a PEFT adapter in `output`.

    Raises EngineError for a base whose names in GGUF are not known, and as `read_adapter_gguf`.
    """
    known = gguf_base(base.name, read_config(_folder(base)), AS_CONVERTED)
    read_adapter_gguf(file, source, known, output)


def _folder(base: BaseModel) -> Path:
    folder = local_folder(base)
    if folder is None:
        raise EngineError(
            tr(
                "The files of {name} are not on this machine; the names in GGUF follow from "
                "the base's config.json.",
                name=f"{base.name!r}",
            ),
            tr("Load the model once while online, or give the base as a folder."),
        )
    return folder
