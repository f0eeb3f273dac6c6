"""What the take-away tab asks of the engine: the choice of its fields, its works, and `/export`.

Knows no component.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from lora_engine.adapters import name_from
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.export import (
    FORM_WORDS,
    DType,
    ExportReport,
    Form,
    HubTarget,
    Requantization,
    dtype_named,
    form_named,
    requantizations_named,
)
from lora_engine.spectrum import ReportProgress
from pages.shared.background_work import Work

HAS_DTYPE = ("merged", "merged-gguf")
HAS_SYSTEM = ("ollama",)
TAKES_BASE_ALONG = ("gguf",)


class FormOptions(TypedDict):
    """How a form is written, as `engine.exports.export` takes it."""

    base: str | None
    dtype: DType | None
    system: str
    with_base: bool


@dataclass(frozen=True)
class ExportChoice:
    """What is to be written under which name. base: None for the one the adapter was trained on.

    measure: also what the export kept; requantized: that too with its base requantized.
    """

    name: str
    form: Form
    base: str | None
    dtype: DType | None
    system: str
    with_base: bool
    measure: bool
    requantized: tuple[Requantization, ...]

    @property
    def is_measured(self) -> bool:
        return self.measure or bool(self.requantized)


def export_choice(
    name: str,
    form: str,
    base: str | None,
    dtype: str | None,
    system: str,
    with_base: bool,
    measure: bool,
    requantized: Sequence[str],
) -> ExportChoice:
    """The choice of the fields; those that the form has no use for are left out.

    Raises InvalidInput.
    """
    chosen = form_named(form)
    return ExportChoice(
        name=name,
        form=chosen,
        base=(base or "").strip() or None,
        dtype=dtype_named(dtype) if dtype and chosen in HAS_DTYPE else None,
        system=system if chosen in HAS_SYSTEM else "",
        with_base=with_base and chosen in TAKES_BASE_ALONG,
        measure=measure,
        requantized=requantizations_named(",".join(requantized)),
    )


def suggested_name(adapter: str, form: str) -> str:
    """The name that is offered for an adapter's export."""
    return name_from(f"{adapter}-{form}")


def is_suggested(name: str, adapter: str) -> bool:
    """Whether the person has left the name as it was offered, for whichever form."""
    return name in {suggested_name(adapter, form) for form in FORM_WORDS}


def exporting(
    engine: Engine, adapter: str, choice: ExportChoice, overwrite: bool
) -> Work[ExportReport]:
    """Work: the export written under its name; nothing is measured yet."""

    def export(progress: ReportProgress, stop: StopSignal) -> ExportReport:
        return engine.exports.export(
            adapter,
            engine.exports.written.folder(choice.name),
            choice.form,
            **_options(choice),
            measure=False,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
        )

    return export


def measuring_fidelity(
    engine: Engine, adapter: str, written: ExportReport, choice: ExportChoice
) -> Work[ExportReport]:
    """Work: what was written, beside what was trained."""

    def measure(progress: ReportProgress, stop: StopSignal) -> ExportReport:
        return engine.exports.measured(
            adapter,
            written,
            base=choice.base,
            requantized=choice.requantized,
            progress=progress,
            stop=stop,
        )

    return measure


def pushing(
    engine: Engine, adapter: str, choice: ExportChoice, target: HubTarget, overwrite: bool
) -> Work[ExportReport]:
    """Work: the export written again under its name, measured where that is chosen, and pushed.

    overwrite: what the repository holds.
    """

    def push(progress: ReportProgress, stop: StopSignal) -> ExportReport:
        return engine.exports.export(
            adapter,
            engine.exports.written.folder(choice.name),
            choice.form,
            **_options(choice),
            measure=choice.measure,
            requantized=choice.requantized,
            push=target,
            overwrite=True,
            overwrite_push=overwrite,
            progress=progress,
            stop=stop,
        )

    return push


def _options(choice: ExportChoice) -> FormOptions:
    return {
        "base": choice.base,
        "dtype": choice.dtype,
        "system": choice.system,
        "with_base": choice.with_base,
    }


def export_endpoint(engine: Engine) -> Callable[..., dict]:
    """The function behind `/export`."""

    def export(
        adapter: str,
        name: str,
        form: str = "portable",
        base: str | None = None,
        dtype: str | None = None,
        system: str = "",
        with_base: bool = False,
        measure: bool = True,
        requantized: str = "",
        push: str = "",
        private: bool = True,
        overwrite: bool = False,
    ) -> dict:
        """Write an adapter for other programs into `exports/NAME` of the data folder.

        The keys are those of `python -m lora_engine export --json`, with `folder` for `path`.
        """
        done = engine.exports.export(
            adapter,
            engine.exports.written.folder(name),
            form_named(form),
            base=base,
            dtype=dtype_named(dtype) if dtype else None,
            system=system,
            with_base=with_base,
            measure=measure,
            requantized=requantizations_named(requantized),
            push=HubTarget(push, private) if push else None,
            overwrite=overwrite,
        )
        return done.to_json()

    return export
