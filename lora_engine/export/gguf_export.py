"""An adapter taken away as GGUF: by llama.cpp's converter where it is here, else by our writer.

Both start from the portable adapter, because llama.cpp scales by alpha over each tensor's rank and
knows nothing else.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapter_operations.output_folder import output_folder
from lora_engine.adapter_operations.source_adapter import open_source
from lora_engine.base_models import BaseModel
from lora_engine.base_models.model_config import read_config
from lora_engine.base_models.weight_files import local_folder
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.export.gguf_adapter import ADAPTER_FILE, read_adapter_gguf, write_adapter_gguf
from lora_engine.export.gguf_names import gguf_base
from lora_engine.export.llama_cpp import CONVERT_ADAPTER, convert_adapter
from lora_engine.export.portable import PortableReport, portable
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress

AS_CONVERTED = "The file stands as llama.cpp's converter wrote it."


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
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> GgufReport:
    """Write `adapter.gguf` into the folder `output`, whole or not there.

    base: what the adapter was trained on; only its configuration is read.
    Raises EngineError for what a plain adapter cannot say, for a base whose names in GGUF are not
    known while LLAMA_CPP_DIR is not set, and where llama.cpp's converter fails; Conflict for an
    output that exists; Stopped.
    """
    folder, name = _folder(base), open_source(source).name
    converter = settings.llama_cpp_dir
    with (
        output_folder(output, ADAPTER_FILE, overwrite) as staging,
        tempfile.TemporaryDirectory(dir=staging) as scratch,
    ):
        plain, file = Path(scratch) / name, staging / ADAPTER_FILE
        if converter is None:
            known = gguf_base(base.name, read_config(folder))
            written = portable(source, plain, stop=stop)
            write_adapter_gguf(plain, file, known, name, progress=progress, stop=stop)
            by = "written here, with llama.cpp's package gguf"
        else:
            written = portable(source, plain, progress=progress, stop=stop)
            convert_adapter(converter, plain, folder, file, stop)
            by = f"written by {CONVERT_ADAPTER} of {converter}"
    return GgufReport(output / ADAPTER_FILE, written, (f"{ADAPTER_FILE} was {by}.",))


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
            f"The files of {base.name!r} are not on this machine; the names in GGUF follow from "
            f"the base's config.json.",
            "Load the model once while online, or give the base as a folder.",
        )
    return folder
