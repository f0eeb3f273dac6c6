"""What the engine offers for taking an adapter away: export it, and say where it loads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lora_engine.access import deed, keep_owner, typed_path
from lora_engine.adapter_operations.merge_report import DType
from lora_engine.adapters import describe_adapter, resolve_adapter
from lora_engine.adapters.check import check_on_base
from lora_engine.adapters.whole import read_whole
from lora_engine.base_models import STARTER, BaseModel, resolve_base_model
from lora_engine.base_models.config_file import config_of
from lora_engine.base_models.weight_files import local_folder
from lora_engine.cancellation import NEVER_STOPPED, Stopped, StopSignal
from lora_engine.compare.service import Comparisons
from lora_engine.errors import EngineError, NotFound
from lora_engine.export.commands import (
    ServeCommand,
    Served,
    adapter_commands,
    gguf_commands,
    largest_rank,
    merged_commands,
    merged_gguf_commands,
)
from lora_engine.export.export_adapter import ExportReport, ExportRequest, export_adapter
from lora_engine.export.fidelity import Fidelity, RequantizedFidelity, Voice
from lora_engine.export.fidelity import measure as measure_fidelity
from lora_engine.export.forms import Form, Requantization
from lora_engine.export.gguf_adapter import ADAPTER_FILE
from lora_engine.export.gguf_export import MERGED_FILE, read_back, read_back_whole
from lora_engine.export.hub import HubTarget, check_target
from lora_engine.export.hub import push as push_to_hub
from lora_engine.export.load_rules import LoadRule, where_it_loads
from lora_engine.export.model_card import model_card
from lora_engine.export.voices import (
    SPECS,
    exported_voice,
    quantized_for_training,
    requantized_voice,
    trained_voice,
)
from lora_engine.export.written import WrittenExports
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import QuantizationSpec
from lora_engine.spectrum import ReportProgress, WorkMonitor

GGUF_FORMS = ("gguf", "merged-gguf")
WITH_BASE = ("ollama", "merged", *GGUF_FORMS)
"""Forms that are made with the base's files."""


class Exports:
    """Exports of adapters; a source is a run's id, a listed name or a folder.

    Fidelity is measured on the base model that the comparisons keep in memory. written: the exports
    in the data folder.
    """

    def __init__(self, settings: Settings, comparisons: Comparisons) -> None:
        self._settings = settings
        self._comparisons = comparisons
        self.written = WrittenExports(settings)

    def where_it_loads(self, source: str | Path) -> list[LoadRule]:
        """As `load_rules.where_it_loads`."""
        folder = self._folder(source)
        return where_it_loads(folder, self._model_type(self._base_of(folder)))

    @deed("export")
    def export(
        self,
        source: str | Path,
        output: Path,
        form: Form,
        *,
        base: str | None = None,
        dtype: DType | None = None,
        system: str = "",
        with_base: bool = False,
        measure: bool = True,
        requantized: Sequence[Requantization] = (),
        push: HubTarget | None = None,
        overwrite: bool = False,
        overwrite_push: bool | None = None,
        progress: ReportProgress | None = None,
        stop: StopSignal = NEVER_STOPPED,
    ) -> ExportReport:
        """Write the export, then measure its fidelity on the base the adapter was trained on.

        base: another name of that base. dtype: of a merged model. system: a system text for the
        Modelfile of the form ollama. measure, requantized: as `measured`. push: where on the hub it
        goes then; that is asked before anything is written, and where it fails afterwards the
        export stays. overwrite: an earlier output, and an earlier push unless `overwrite_push` says
        otherwise. The report's `commands` serve what was written. Raises EngineError where `base`
        is here and not the one the adapter was trained on; and as `export_adapter`,
        `check_target` and `push`.
        """
        folder, output = self._folder(source), typed_path(output, self._settings)
        overwrite_push = overwrite if overwrite_push is None else overwrite_push
        if base:
            self._refuse_other_base(folder, base)
        if push is not None:
            _refuse_to_push(form)
            check_target(push, overwrite_push)
        place = output.absolute().name if push is None else push.id
        card = model_card(folder, place, form, self._settings, base)
        base = base or self._base_of(folder)
        request = ExportRequest(
            source=folder,
            output=output,
            form=form,
            base=self._base(base) if form in WITH_BASE else None,
            model_type=self._model_type(base),
            dtype=dtype,
            system=system,
            readme=card,
            with_base=with_base,
            overwrite=overwrite,
        )
        report = export_adapter(request, self._settings, progress=progress, stop=stop)
        keep_owner(output)
        report = replace(report, commands=self._commands(str(source), base, report))
        if measure or requantized:
            report = self.measured(
                source, report, base=base, requantized=requantized, progress=progress, stop=stop
            )
        if push is not None:
            WorkMonitor(progress, stop).step(1.0, tr("pushing to {repository}", repository=push.id))
            report = _pushed(report, push, overwrite_push)
        return report

    def measured(
        self,
        source: str | Path,
        report: ExportReport,
        *,
        base: str | None = None,
        requantized: Sequence[Requantization] = (),
        progress: ReportProgress | None = None,
        stop: StopSignal = NEVER_STOPPED,
    ) -> ExportReport:
        """The report with the fidelity of what was written: base, adapter and export are loaded.

        requantized: also with the base requantized, which is loaded once more for each. Where
        measuring fails the export stays, and a note says why. Raises Stopped.
        """
        folder = self._folder(source)
        base = base or self._base_of(folder)
        monitor, parts = WorkMonitor(progress, stop), 1 + len(requantized)
        try:
            with self._readable(report, folder, base) as here:
                trained = trained_voice(self._base(base), folder, self._comparisons, self._settings)
                exported = exported_voice(trained, here, self._settings)
                found = self._fidelity(trained, exported, folder, monitor.part(0.0, 1.0 / parts))
                notes = _measured_on(quantized_for_training(self._base(base), folder))
                report = replace(report, fidelity=found, notes=(*report.notes, *notes))
                for number, kind in enumerate(requantized, 1):
                    part = monitor.part(number / parts, (number + 1) / parts)
                    part.step(0.0, tr("requantizing the base ({kind})", kind=kind))
                    del exported  # one model beside the trained one at a time
                    exported = requantized_voice(
                        trained, self._base(base), here, kind, self._settings
                    )
                    found = self._fidelity(trained, exported, folder, part)
                    more = RequantizedFidelity(
                        **vars(found), quantization=kind, bits=SPECS[kind].bits
                    )
                    report = replace(report, requantized=(*report.requantized, more))
        except Stopped:
            raise
        except EngineError as error:
            why = {"problem": error.problem, "remedy": error.remedy}
            note = (
                tr("Fidelity was not measured: {problem} {remedy}", **why)
                if report.fidelity is None
                else tr(
                    "Fidelity with a requantized base was not measured: {problem} {remedy}", **why
                )
            )
            return replace(report, notes=(*report.notes, note))
        return report

    def _fidelity(
        self, trained: Voice, exported: Voice, folder: Path, monitor: WorkMonitor
    ) -> Fidelity:
        return measure_fidelity(
            trained, exported, folder, self._settings, progress=monitor.step, stop=monitor.stop
        )

    def voices(self, base: str, folder: Path, report: ExportReport) -> tuple[Voice, Voice]:
        """What was trained, and what was written; a merged model is in memory beside its base."""
        trained = trained_voice(self._base(base), folder, self._comparisons, self._settings)
        return trained, exported_voice(trained, report, self._settings)

    def _commands(self, source: str, base: str, report: ExportReport) -> tuple[ServeCommand, ...]:
        path = report.path.absolute()
        if report.form == "merged":
            return merged_commands(path)
        if report.form == "merged-gguf":
            return merged_gguf_commands(path)
        try:
            served_base = self._base(base)
        except EngineError:
            served_base = BaseModel(base, None)  # the commands name it all the same
        adapter = self._folder(source) if report.adapter is None else report.adapter
        served = Served(source, path, largest_rank(adapter), served_base)
        if report.form == "gguf":
            return gguf_commands(served)
        return adapter_commands(served, report.form, report.loads)

    @contextmanager
    def _readable(self, report: ExportReport, folder: Path, base: str) -> Iterator[ExportReport]:
        """The report with what can be loaded here: of a GGUF file, what is read back from it."""
        if report.form not in GGUF_FORMS:
            yield report
            return
        with tempfile.TemporaryDirectory(prefix="rankscope-") as scratch:
            again = Path(scratch) / report.path.name
            if report.form == "merged-gguf":
                read_back_whole(report.path / MERGED_FILE, self._base(base), again)
                yield replace(report, path=again)
                return
            read_back(report.path / ADAPTER_FILE, folder, self._base(base), again)
            yield replace(report, adapter=again)

    def _base(self, name: str) -> BaseModel:
        return resolve_base_model(name, self._settings)

    def _base_of(self, folder: Path) -> str:
        return describe_adapter(folder).base_model or STARTER

    def _refuse_other_base(self, folder: Path, base: str) -> None:
        """Raises EngineError where the base that is asked for is here and not the adapter's."""
        try:
            found = self._base(base)
        except NotFound:  # the export needs none; a note says later that nothing was measured
            return
        if local_folder(found) is not None:
            check_on_base(read_whole(folder), found)

    def _model_type(self, base: str) -> str | None:
        """The base's model_type; None where the base is not on this machine."""
        try:
            folder = local_folder(resolve_base_model(base, self._settings))
        except EngineError:
            return None
        found = None if folder is None else config_of(BaseModel(base, folder)).get("model_type")
        return found if isinstance(found, str) else None

    def _folder(self, source: str | Path) -> Path:
        return resolve_adapter(str(source), self._settings)


def _measured_on(quantization: QuantizationSpec | None) -> Sequence[str]:
    if quantization is None:
        return ()
    return (
        tr(
            "Measured with the base quantized to {bits} bits, as it was trained on; on other "
            "weights it answers otherwise.",
            bits=quantization.bits,
        ),
    )


def _refuse_to_push(form: Form) -> None:
    if form == "ollama":
        raise EngineError(
            tr(
                "A Modelfile names the base's folder on this machine, so it is not pushed to "
                "the hub."
            ),
            tr("Push the form adapter, portable or merged."),
        )
    if form in GGUF_FORMS:
        raise EngineError(
            tr("An export as GGUF has no model card, and none is pushed to the hub without one."),
            tr("Push the form adapter, portable or merged."),
        )


def _pushed(report: ExportReport, target: HubTarget, overwrite: bool) -> ExportReport:
    try:
        return replace(report, pushed=push_to_hub(report.path, target, overwrite))
    except EngineError as error:
        stays = tr(
            "{problem} The export itself is whole, in {path}.",
            problem=error.problem,
            path=report.path,
        )
        raise type(error)(stays, error.remedy) from error
