"""Commands that try one task by every method: start a run each, and show what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from lora_engine.cli import output
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import print_json, print_table
from lora_engine.cli.runs import open_engine, spec_file_argument
from lora_engine.cli.sweep import when_over
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.measured_methods import MeasuredMethod, MethodsReport
from lora_engine.spec import WAYS, Way, read_spec

MIB = 2**20
HEADINGS = (
    "method",
    "state",
    "trained, counted",
    "measured",
    "peak MiB, expected",
    "measured",
    "seconds",
    "tokens/s",
    "held-out loss",
    "ms a token",
    "x base",
)


def register(app: typer.Typer) -> None:
    add_commands(app, methods, methods_report)


def methods(
    spec_file: Annotated[Path, spec_file_argument()],
    only: Annotated[
        str, typer.Option(help=tr("Methods with commas: {names}.", names=", ".join(WAYS)))
    ] = "",
    wait: Annotated[
        bool,
        typer.Option("--wait", help=tr("Wait until all runs are over; measure their answers.")),
    ] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """The same task by every method: queue a run of the spec for each, in one group."""
    engine = open_engine()
    report = engine.methods.submit(read_spec(spec_file), _ways(only))
    if wait:
        output.note(tr("group {id}: {count} methods", id=report.id, count=len(report.rows)))
        when_over(engine, report.id)
        report = engine.methods.measure_answers(report.id, _told)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)


def methods_report(
    group: Annotated[str, typer.Argument(help=tr("The group that `methods` began."))],
    measure_answers: Annotated[
        bool, typer.Option("--measure-answers", help=tr("Measure how long answers take, anew."))
    ] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """What was counted of each method before, and measured after."""
    engine = open_engine()
    if measure_answers:
        report = engine.methods.measure_answers(group, _told)
    else:
        report = engine.methods.report(group)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)


def _told(what: str) -> None:
    output.note(tr("measuring the answers of {what}", what=what))


def _ways(only: str) -> Sequence[Way]:
    """The methods named, in the usual order. Raises EngineError for one that there is not."""
    named = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in named if name not in WAYS]
    if unknown:
        raise EngineError(
            tr(
                "--only got {unknown}, which is no method that is tried.", unknown=f"{unknown[0]!r}"
            ),
            tr("Choose among {ways}.", ways=", ".join(WAYS)),
        )
    return cast("Sequence[Way]", [way for way in WAYS if way in named]) or WAYS


def print_report(report: MethodsReport) -> None:
    """The report as a table; what went wrong goes to standard error."""
    where = tr("{dataset} on {base}", dataset=report.dataset, base=report.base_model)
    typer.echo(f"{report.id}  {report.name}: {where}")
    print_table(HEADINGS, (_cells(row) for row in report.rows))
    if report.base_ms_per_token is not None:
        time = f"{report.base_ms_per_token:.2f}"
        typer.echo(tr("The base answers in {time} ms a token.", time=time))
    for row in report.rows:
        if row.why is not None:
            output.note(f"{row.name}: {row.why}")
    for text in report.notes:
        output.note(text)


def _cells(row: MeasuredMethod) -> tuple[str, ...]:
    counted, measured = row.counted, row.measured
    answers = None if measured is None else measured.answers
    return (
        row.name,
        row.state,
        _number(counted and counted.trained_parameters, "{:,}"),
        _number(measured and measured.trained_parameters, "{:,}"),
        _number(counted and _mib(counted.peak_memory_bytes), "{:,.0f}"),
        _number(measured and _mib(measured.peak_memory_bytes), "{:,.0f}"),
        _number(measured and measured.elapsed_s, "{:.1f}"),
        _number(measured and measured.tokens_per_s, "{:,.0f}"),
        _number(measured and measured.eval_loss, "{:.4f}"),
        _number(answers and answers.ms_per_token, "{:.2f}"),
        _number(answers and answers.times_base, "{:.2f}"),
    )


def _mib(size: int | None) -> float | None:
    return None if size is None else size / MIB


def _number(value: object, form: str) -> str:
    return "-" if value is None else form.format(value)
