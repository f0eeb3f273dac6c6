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
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

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


@dataclass(frozen=True)
class ExportRequest:
    """What is written, and where. source: the adapter's folder.

    base: what is merged into, what Ollama's FROM names, and what the names in GGUF follow.
    model_type: the base's, for the table of programs. dtype: of a merged model's weights; None
    keeps the base's. system: a system text for Ollama's Modelfile; only that form has one. readme:
    the text of README.md for a form that others take up (not a Modelfile); an adapter's own goes
    before it where it stays an adapter for PEFT. with_base: of the form gguf, the base too.
    """

    source: Path
    output: Path
    form: Form
    base: BaseModel | None = None
    model_type: str | None = None
    dtype: DType | None = None
    system: str = ""
    readme: str = ""
    with_base: bool = False
    overwrite: bool = False

    def needed_base(self) -> BaseModel:
        """The base. Raises EngineError where none is given."""
        if self.base is None:
            raise EngineError(
                tr("This form is made with the base."), tr("Give the base's name or folder.")
            )
        return self.base

    def own_readme(self) -> str:
        """The text beside an adapter that stays one for PEFT."""
        return readme_of(self.source) or self.readme


def export_adapter(
    request: ExportRequest,
    settings: Settings,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> ExportReport:
    """Write an adapter in the form that is asked for; fidelity is measured by the caller.

    Raises NotFound and EngineError for an adapter that is not whole or not finite, or that the
    form cannot say, by the name of the part; Conflict for an output that exists; Stopped.
    """
    _refuse_without_place(request)
    refuse_non_finite(read_whole(request.source).file)
    monitor = WorkMonitor(progress, stop)
    match request.form:
        case "adapter":
            return _as_it_is(request)
        case "portable":
            return _portable(request, monitor)
        case "ollama":
            return _ollama(request)
        case "merged":
            return _merged(request, settings, monitor)
        case "gguf":
            return _gguf(request, settings, monitor)
        case "merged-gguf":
            return _merged_gguf(request, settings, monitor)


def _refuse_without_place(request: ExportRequest) -> None:
    """Raises EngineError for what only another form has a place for."""
    if request.system and request.form != "ollama":
        raise EngineError(
            tr(
                "A system text is given, and the form {form} has no place for one.",
                form=f"{request.form!r}",
            ),
            tr("Only the form ollama writes one, into its Modelfile; leave it out."),
        )
    if request.with_base and request.form != "gguf":
        raise EngineError(
            tr(
                "The base is asked for too, and the form {form} has no place for it.",
                form=f"{request.form!r}",
            ),
            tr("Only the form gguf writes one beside the adapter; leave it out."),
        )


def _as_it_is(request: ExportRequest) -> ExportReport:
    _copy(request.source, request.output, request.own_readme(), request.overwrite)
    return _of_adapter(request, request.output, ())


def _portable(request: ExportRequest, monitor: WorkMonitor) -> ExportReport:
    written = portable(
        request.source,
        request.output,
        readme=request.own_readme(),
        overwrite=request.overwrite,
        progress=monitor.progress,
        stop=monitor.stop,
    )
    return _of_adapter(request, request.output, _portable_notes(written))


def _ollama(request: ExportRequest) -> ExportReport:
    written = write_ollama(
        request.source,
        request.output,
        request.needed_base(),
        request.model_type,
        system=request.system,
        overwrite=request.overwrite,
    )
    notes = (*_portable_notes(written.adapter), *written.notes)
    return _of_adapter(request, request.output / ADAPTER_FOLDER, notes)


def _merged(request: ExportRequest, settings: Settings, monitor: WorkMonitor) -> ExportReport:
    merged = merge(
        request.source,
        request.needed_base(),
        request.output,
        settings,
        MergeOptions(
            dtype=request.dtype, overwrite=request.overwrite, prove=False, readme=request.readme
        ),
        progress=monitor.progress,
        stop=monitor.stop,
    )
    return ExportReport(request.output, request.form, None, (), merged.notes, None)


def _gguf(request: ExportRequest, settings: Settings, monitor: WorkMonitor) -> ExportReport:
    written = write_gguf(
        request.source,
        request.output,
        request.needed_base(),
        settings,
        with_base=request.with_base,
        readme=request.readme,
        overwrite=request.overwrite,
        progress=monitor.progress,
        stop=monitor.stop,
    )
    notes = (*_portable_notes(written.portable), *written.notes)
    loads = tuple(where_gguf_loads(request.model_type))
    return ExportReport(request.output, request.form, None, loads, notes, None)


def _merged_gguf(request: ExportRequest, settings: Settings, monitor: WorkMonitor) -> ExportReport:
    notes = write_merged_gguf(
        request.source,
        request.output,
        request.needed_base(),
        settings,
        dtype=request.dtype,
        readme=request.readme,
        overwrite=request.overwrite,
        progress=monitor.progress,
        stop=monitor.stop,
    )
    return ExportReport(request.output, request.form, None, (), notes, None)


def _of_adapter(request: ExportRequest, adapter: Path, notes: Sequence[str]) -> ExportReport:
    """The report of an export that PEFT reads, from the folder `adapter`."""
    loads = tuple(where_it_loads(adapter, request.model_type))
    return ExportReport(request.output, request.form, None, loads, tuple(notes), adapter)


def _copy(source: Path, output: Path, readme: str, overwrite: bool) -> None:
    with output_folder(output, CONFIG_FILE, overwrite) as staging:
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, staging / name)
        write_readme(staging, readme)


def _portable_notes(report: PortableReport) -> list[str]:
    notes = [tr("Every module has rank {rank} and a scaling of 1.", rank=report.rank)]
    if report.widened:
        notes.append(
            tr(
                "{widened} of {modules} modules are stored in float32: their scaling would have "
                "been rounded in their own type.",
                widened=report.widened,
                modules=report.modules,
            )
        )
    return notes
