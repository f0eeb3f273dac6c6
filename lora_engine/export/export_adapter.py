"""An adapter written in a form that other programs take, with the proof of what it is worth.

The forms are those of `forms`. Each output is whole or not there. Knows no page and no command.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapter_operations.merge import merge
from lora_engine.adapter_operations.merge_report import DType, MergeOptions
from lora_engine.adapter_operations.output_folder import output_folder
from lora_engine.adapter_operations.written_adapter import COMPANIONS, PROVENANCE_FILE
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.whole import read_whole, refuse_non_finite
from lora_engine.base_models import BaseModel
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.export.commands import ServeCommand
from lora_engine.export.fidelity import Fidelity, RequantizedFidelity
from lora_engine.export.forms import Form
from lora_engine.export.gguf_export import write_gguf, write_merged_gguf
from lora_engine.export.hub import Pushed
from lora_engine.export.load_rules import LoadRule, where_gguf_loads, where_it_loads
from lora_engine.export.model_card import readme_of
from lora_engine.export.ollama import ADAPTER_FOLDER, write_ollama
from lora_engine.export.portable import PortableReport, portable, write_readme
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress

FILES = (CONFIG_FILE, WEIGHTS_FILE, PROVENANCE_FILE, *COMPANIONS)


@dataclass(frozen=True)
class ExportReport:
    """A written export. fidelity: None where it was not measured; notes say why.

    loads: where the output's adapter loads, by program; empty for a merged model, which loads as
    its base does. adapter: its folder, where it is one that PEFT reads. commands: what to type to
    serve it, by program. requantized: the fidelity with its base requantized, of each kind that
    was asked for. pushed: where it is on the hub, None where it was not pushed.
    """

    path: Path
    form: Form
    fidelity: Fidelity | None
    loads: tuple[LoadRule, ...]
    notes: tuple[str, ...]
    adapter: Path | None
    commands: tuple[ServeCommand, ...] = ()
    requantized: tuple[RequantizedFidelity, ...] = ()
    pushed: Pushed | None = None

    def to_json(self) -> dict[str, Any]:
        adapter = None if self.adapter is None else str(self.adapter)
        return {**asdict(self), "path": str(self.path), "adapter": adapter}


def export_adapter(
    source: Path,
    output: Path,
    form: Form,
    settings: Settings,
    *,
    base: BaseModel | None = None,
    model_type: str | None = None,
    dtype: DType | None = None,
    system: str = "",
    readme: str = "",
    with_base: bool = False,
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ExportReport:
    """Write the adapter in `source` into `output`; fidelity is measured by the caller.

    base: what is merged into, what Ollama's FROM names, and what the names in GGUF follow.
    model_type: the base's, for the table of programs. dtype: of a merged model's weights; None
    keeps the base's. system: a system text for Ollama's Modelfile; only that form has one. readme:
    the text of README.md for a form that others take up (not a Modelfile); an adapter's own goes
    before it where it stays an adapter for PEFT. with_base: of the form gguf, the base too.
    Raises NotFound and EngineError for an adapter that is not whole or not finite, or that the
    form cannot say, by the name of the part; Conflict for an output that exists; Stopped.
    """
    source, output = Path(source), Path(output)
    if system and form != "ollama":
        raise EngineError(
            f"A system text is given, and the form {form!r} has no place for one.",
            "Only the form ollama writes one, into its Modelfile; leave it out.",
        )
    if with_base and form != "gguf":
        raise EngineError(
            f"The base is asked for too, and the form {form!r} has no place for it.",
            "Only the form gguf writes one beside the adapter; leave it out.",
        )
    refuse_non_finite(read_whole(source).file)
    notes: Sequence[str] = ()
    if form == "merged":
        options = MergeOptions(dtype=dtype, overwrite=overwrite, prove=False, readme=readme)
        merged = merge(
            source, _needed(base), output, settings, options, progress=progress, stop=stop
        )
        return ExportReport(output, form, None, (), merged.notes, None)
    if form == "merged-gguf":
        notes = write_merged_gguf(
            source,
            output,
            _needed(base),
            settings,
            dtype=dtype,
            readme=readme,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
        )
        return ExportReport(output, form, None, (), notes, None)
    if form == "gguf":
        base = _needed(base)
        file = write_gguf(
            source,
            output,
            base,
            settings,
            with_base=with_base,
            readme=readme,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
        )
        told = (*_portable_notes(file.portable), *file.notes)
        return ExportReport(output, form, None, tuple(where_gguf_loads(model_type)), told, None)
    adapter, own = output, readme_of(source) or readme
    if form == "adapter":
        _copy(source, output, own, overwrite)
    elif form == "ollama":
        written = write_ollama(
            source, output, _needed(base), model_type, system=system, overwrite=overwrite
        )
        notes, adapter = (
            [*_portable_notes(written.adapter), *written.notes],
            output / ADAPTER_FOLDER,
        )
    else:
        report = portable(
            source, output, readme=own, overwrite=overwrite, progress=progress, stop=stop
        )
        notes = _portable_notes(report)
    rules = where_it_loads(adapter, model_type)
    return ExportReport(output, form, None, tuple(rules), tuple(notes), adapter)


def _needed(base: BaseModel | None) -> BaseModel:
    if base is None:
        raise EngineError("This form is made with the base.", "Give the base's name or folder.")
    return base


def _copy(source: Path, output: Path, readme: str, overwrite: bool) -> None:
    with output_folder(output, CONFIG_FILE, overwrite) as staging:
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, staging / name)
        write_readme(staging, readme)


def _portable_notes(report: PortableReport) -> list[str]:
    notes = [f"Every module has rank {report.rank} and a scaling of 1."]
    if report.widened:
        notes.append(
            f"{report.widened} of {report.modules} modules are stored in float32: their scaling "
            "would have been rounded in their own type."
        )
    return notes
