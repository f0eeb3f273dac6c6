"""Step: the same task by every method, as this installation measured it or as it was committed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.lesson import read_measured
from lora_engine.measured_methods import MethodsReport
from pages import CALCULATOR
from pages.learn import parts
from pages.learn.step import Lesson, Step, TryIt
from pages.shared.wiring import Update, problem_box, wire

MEASURES = ("eval_loss", "trained_parameters", "peak_memory_bytes", "times_base")
LORAS = ("lora", "qlora", "dora")


@dataclass(frozen=True)
class MethodBar:
    """One method as the picture has it; None where a measure is not known."""

    name: str
    is_lora: bool
    trained_parameters: int | None
    peak_memory_bytes: int | None
    eval_loss: float | None
    times_base: float | None


def build(lesson: Lesson) -> None:
    picture = parts.picture(
        "learn/methods.js", "methods", _content(_committed(), _how()), height=448,
        elem_id="methods-picture",
    )  # fmt: skip

    def show_own() -> Update:
        """The newest group of this installation whose runs have all ended, where there is one."""
        report = _newest(lesson.engine)
        if report is None:
            return {}
        how = tr(
            "Measured by this installation: {name}, {dataset} on {base}.",
            name=report.name,
            dataset=report.dataset,
            base=report.base_model,
        )
        return {picture: json.dumps(_content(_of(report), how))}

    wire([lesson.blocks.load], show_own, [], [picture], problem=problem_box())


def _newest(engine: Engine) -> MethodsReport | None:
    reports = (engine.methods.report(view.id) for view in engine.methods.list() if view.is_over)
    return next((one for one in reports if any(row.measured for row in one.rows)), None)


def _of(report: MethodsReport) -> list[MethodBar]:
    return [
        MethodBar(
            tr(row.name),
            row.way in LORAS,
            found.trained_parameters,
            found.peak_memory_bytes,
            found.eval_loss,
            None if found.answers is None else found.answers.times_base,
        )
        for row in report.rows
        if (found := row.measured) is not None
    ]


def _committed() -> list[MethodBar]:
    return [
        MethodBar(
            tr(one.name),
            one.way in LORAS,
            one.trained_parameters,
            one.peak_memory_bytes,
            one.eval_loss,
            one.times_base,
        )
        for one in read_measured().methods
    ]


def _how() -> str:
    how = read_measured().how
    return tr(
        "Measured on {date}: the starter, {dataset}, {steps} steps in batches of {batch}, each "
        "method at the learning rate that suits it ({machine}). A loss after so few steps says how "
        "a method starts, not where it ends. Other programs ran meanwhile: times hold within 20 %.",
        date=how.date,
        dataset=how.dataset,
        steps=how.method_steps,
        batch=how.batch_size,
        machine=how.machine,
    )


def _content(bars: Sequence[MethodBar], how: str) -> dict[str, Any]:
    return {
        "rows": [asdict(one) for one in bars],
        "measures": list(MEASURES),
        "words": {
            "measure": tr("What the bars show"),
            "eval_loss": tr("Held-out loss"),
            "trained_parameters": tr("Numbers trained"),
            "peak_memory_bytes": tr("Memory"),
            "times_base": tr("Time of an answer"),
            "about": {
                "eval_loss": tr(
                    "Loss on rows that were not trained on, nats a token: less is better."
                ),
                "trained_parameters": tr("How many numbers the optimizer changed."),
                "peak_memory_bytes": tr(
                    "Peak of the training process, MiB. Beside so small a model the program itself "
                    "takes most of it."
                ),
                "times_base": tr(
                    "Time of a token of an answer, in that of the bare base. LoRA that is merged "
                    "costs nothing more."
                ),
            },
            "how": how,
        },
    }


STEP = Step(
    key="methods",
    title=translatable("The same task by every method"),
    claim=translatable(
        "LoRA is one of a dozen ways to train a small part of a model; the same task shows what "
        "each costs and reaches."
    ),
    formula=r"$$W' = W + \Delta W$$",
    build=build,
    try_it=(TryIt(translatable("Train every method in Calculator"), CALCULATOR, {}),),
)
