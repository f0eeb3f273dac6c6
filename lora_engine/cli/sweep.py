"""Commands on sweeps: submit a grid of runs, wait for it, list it, stop and resume it, judge it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from lora_engine.advisor import Judgement
from lora_engine.cli import output
from lora_engine.cli.options import add_commands, field_help, json_flag, yes_flag
from lora_engine.cli.output import print_json, print_table
from lora_engine.cli.runs import open_engine, spec_file_argument
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.runs import OVER, RunView, SweepView, state_name
from lora_engine.spec import DEFAULT_RANKS, SweepSpec, listed_values, read_spec, sweep_over

POLL_S = 0.5  # more often would take from the training


class SweepAction(StrEnum):
    """What can be done with a whole sweep."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DELETE = "delete"


def register(app: typer.Typer) -> None:
    add_commands(app, sweep, sweeps, judge)


def sweep(
    spec_file: Annotated[Path, spec_file_argument()],
    ranks: Annotated[
        str,
        typer.Option(
            help=tr(
                "Ranks, separated by commas; {usual} where nothing varies.",
                usual=",".join(map(str, DEFAULT_RANKS)),
            )
        ),
    ] = "",
    learning_rates: Annotated[
        str, typer.Option(help=tr("Learning rates, separated by commas."))
    ] = "",
    seeds: Annotated[str, typer.Option(help=tr("Seeds, separated by commas."))] = "",
    vary: Annotated[
        list[str] | None,
        typer.Option(help=tr("Any other field of the spec: PATH=V1,V2. It may be given again.")),
    ] = None,
    stop_worse: Annotated[
        bool, typer.Option("--stop-worse", help=field_help(SweepSpec, "stop_worse"))
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help=tr("Wait until all runs are over."))] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Queue a run for each combination of the values, in one group."""
    spec = sweep_over(
        read_spec(spec_file),
        ranks=listed_values(ranks),
        learning_rates=listed_values(learning_rates),
        seeds=listed_values(seeds),
        others=_axes(vary or []),
        stop_worse=stop_worse,
    )
    engine = open_engine()
    view = engine.sweeps.submit(spec)
    if not wait:
        _print_sweep(view, json)
        return
    output.note(tr("sweep {id}: {count} runs", id=view.id, count=len(view.runs)))
    view = when_over(engine, view.id)
    try:
        judgement = _judge(engine, view)
    except EngineError as error:  # the runs are there all the same
        output.note(tr("There is no judgement. {error}", error=error))
        judgement = None
    _print_sweep(view, json, judgement)


def sweeps(
    sweep_id: Annotated[str | None, typer.Argument(help=tr("A sweep, to show it."))] = None,
    action: Annotated[
        SweepAction | None, typer.Argument(help=tr("What to do with all its runs."))
    ] = None,
    yes: Annotated[bool, yes_flag()] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """List the sweeps, newest first; show one, or do something with all its runs."""
    engine = open_engine()
    if sweep_id is None:
        _print_list(engine.sweeps.list(), json)
        return
    view = engine.sweeps.get(sweep_id)
    match action:
        case SweepAction.PAUSE:
            view = engine.sweeps.pause(sweep_id)
        case SweepAction.RESUME:
            view = engine.sweeps.resume(sweep_id)
        case SweepAction.CANCEL:
            view = engine.sweeps.cancel(sweep_id)
        case SweepAction.DELETE:
            output.confirm_deletion(f"sweep {sweep_id} with {len(view.runs)} runs", yes)
            engine.sweeps.delete(sweep_id)
            view = replace(view, runs=(), deleted=tuple(run.record.name for run in view.runs))
    _print_sweep(view, json)


def judge(
    sweep_id: Annotated[str, typer.Argument(help=tr("A sweep that `sweeps` lists."))],
    not_worse_by: Annotated[
        float | None,
        typer.Option(help=tr("Nats a token by which a smaller rank may be worse; else 2 %.")),
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """The smallest rank of a sweep that is not worse than the best, with its evidence."""
    engine = open_engine()
    judgement = _judge(engine, engine.sweeps.get(sweep_id), not_worse_by)
    if json:
        print_json({"id": sweep_id, "judgement": judgement.to_json()})
    else:
        _print_judgement(judgement)


def _judge(engine: Engine, view: SweepView, not_worse_by: float | None = None) -> Judgement:
    return engine.advisor.judge(
        [run.id for run in view.runs], deleted=view.deleted, not_worse_by=not_worse_by
    )


def _print_judgement(judgement: Judgement) -> None:
    typer.echo(judgement.sentence())
    for one in judgement.missing:
        output.note(tr("{run} is not judged: {why}", run=one.id, why=one.why))


def _axes(vary: Sequence[str]) -> dict[str, list[JsonValue]]:
    """Field and values of each --vary. Raises EngineError for one without =, or given twice."""
    axes: dict[str, list[JsonValue]] = {}
    for given in vary:
        path, sign, values = given.partition("=")
        if not sign or path in axes:
            raise EngineError(
                tr(
                    "--vary got {given}; it takes one field and its values, and each field once.",
                    given=f"{given!r}",
                ),
                tr("Write it as --vary method.dropout=0,0.1."),
            )
        axes[path] = listed_values(values)
    return axes


def when_over(engine: Engine, sweep_id: str) -> SweepView:
    """Wait for all runs; each change of a state is told on standard error."""
    told: dict[str, str] = {}
    try:
        while True:
            view = engine.sweeps.get(sweep_id)
            for run in view.runs:
                if told.get(run.id) != run.record.state:
                    told[run.id] = run.record.state
                    state = state_name(run.record.state)
                    output.note(f"{run.record.name}: {state}{_reached(run)}")
            if view.is_over:
                return view
            time.sleep(POLL_S)
            engine.runs.refresh()
    except KeyboardInterrupt:
        output.note(
            tr(
                "No longer waiting. Runs that have started go on; `sweeps {sweep_id} cancel` stops "
                "them. The others start while the dashboard runs.",
                sweep_id=sweep_id,
            )
        )
        raise typer.Exit(130) from None


def _reached(run: RunView) -> str:
    if run.newest is None:
        return ""
    loss = run.newest.loss if run.result is None else run.result.eval_loss or run.newest.loss
    reason = run.result.stopped_because if run.result else None
    reached = tr(" after step {step}, loss {loss}", step=run.newest.step, loss=f"{loss:.4f}")
    return reached + (tr(" ({reason})", reason=reason) if reason else "")


def _print_sweep(view: SweepView, as_json: bool, judgement: Judgement | None = None) -> None:
    if as_json:
        print_json({**view.to_json(), "judgement": judgement and judgement.to_json()})
        return
    typer.echo(f"{view.id}  {view.name}")
    print_table(
        ("id", "state", "step", "eval loss", "name"),
        ((run.id, run.record.state, *_figures(run), run.record.name) for run in view.runs),
    )
    for name in view.deleted:
        output.note(tr("{name}: deleted", name=name))
    if view.problem is not None:
        output.note(view.problem)
    if judgement is not None:
        _print_judgement(judgement)


def _figures(run: RunView) -> tuple[int, str]:
    evaluated = None if run.result is None else run.result.eval_loss
    step = 0 if run.newest is None else run.newest.step
    return step, "-" if evaluated is None else f"{evaluated:.4f}"


def _print_list(views: Sequence[SweepView], as_json: bool) -> None:
    if as_json:
        print_json([view.to_json() for view in views])
        return
    print_table(
        ("id", "runs", "over", "name"),
        (
            (
                view.id,
                len(view.runs),
                sum(run.record.state in OVER for run in view.runs),
                view.name,
            )
            for view in views
        ),
    )
    for view in views:
        if view.problem is not None:
            output.note(f"{view.id}: {view.problem}")
