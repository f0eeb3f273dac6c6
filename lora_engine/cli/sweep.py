"""Commands on sweeps: submit a grid of runs, wait for it, list, stop and resume it whole."""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import JsonValue

from lora_engine.cli import output
from lora_engine.cli.output import JsonFlag, field_help, print_json, print_table
from lora_engine.cli.runs import POLL_S, SpecFile, open_engine
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.runs import OVER, RunView, SweepView
from lora_engine.spec import DEFAULT_RANKS, SweepSpec, read_spec, sweep_over

LISTED = "separated by commas"


class SweepAction(StrEnum):
    """What can be done with a whole sweep."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


def register(app: typer.Typer) -> None:
    for command in (sweep, sweeps):
        app.command()(command)


def sweep(
    spec_file: SpecFile,
    ranks: Annotated[
        str,
        typer.Option(
            help=f"Ranks, {LISTED}; {','.join(map(str, DEFAULT_RANKS))} where nothing varies."
        ),
    ] = "",
    learning_rates: Annotated[str, typer.Option(help=f"Learning rates, {LISTED}.")] = "",
    seeds: Annotated[str, typer.Option(help=f"Seeds, {LISTED}.")] = "",
    vary: Annotated[
        list[str] | None,
        typer.Option(help="Any other field of the spec: PATH=V1,V2. It may be given again."),
    ] = None,
    stop_worse: Annotated[
        bool, typer.Option("--stop-worse", help=field_help(SweepSpec, "stop_worse"))
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all runs are over.")] = False,
    json: JsonFlag = False,
) -> None:
    """Queue a run for each combination of the values, in one group."""
    spec = sweep_over(
        read_spec(spec_file),
        ranks=_values(ranks),
        learning_rates=_values(learning_rates),
        seeds=_values(seeds),
        others=_axes(vary or []),
        stop_worse=stop_worse,
    )
    engine = open_engine()
    view = engine.sweeps.submit(spec)
    if wait:
        output.note(f"sweep {view.id}: {len(view.runs)} runs")
        view = _when_over(engine, view.id)
    _print_sweep(view, json)


def sweeps(
    sweep_id: Annotated[str | None, typer.Argument(help="A sweep, to show it.")] = None,
    action: Annotated[
        SweepAction | None, typer.Argument(help="What to do with all its runs.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the sweeps, newest first; or show one, or pause, resume or cancel all its runs."""
    engine = open_engine()
    if sweep_id is None:
        _print_list(engine.sweeps.list(), json)
        return
    match action:
        case SweepAction.PAUSE:
            view = engine.sweeps.pause(sweep_id)
        case SweepAction.RESUME:
            view = engine.sweeps.resume(sweep_id)
        case SweepAction.CANCEL:
            view = engine.sweeps.cancel(sweep_id)
        case None:
            view = engine.sweeps.get(sweep_id)
    _print_sweep(view, json)


def _axes(vary: Sequence[str]) -> dict[str, list[JsonValue]]:
    """Field and values of each --vary. Raises EngineError for one without =, or given twice."""
    axes: dict[str, list[JsonValue]] = {}
    for given in vary:
        path, sign, values = given.partition("=")
        if not sign or path in axes:
            raise EngineError(
                f"--vary got {given!r}; it takes one field and its values, and each field once.",
                "Write it as --vary method.dropout=0,0.1.",
            )
        axes[path] = _values(values)
    return axes


def _values(text: str) -> list[JsonValue]:
    """Values separated by commas: JSON where they are, else words."""
    if not text.strip():
        return []
    try:
        return json_module.loads(f"[{text}]")
    except ValueError:
        return [_value(part.strip()) for part in text.split(",")]


def _value(text: str) -> JsonValue:
    try:
        return json_module.loads(text)
    except ValueError:
        return text


def _when_over(engine: Engine, sweep_id: str) -> SweepView:
    """Wait for all runs; each change of a state is told on standard error."""
    told: dict[str, str] = {}
    try:
        while True:
            view = engine.sweeps.get(sweep_id)
            for run in view.runs:
                if told.get(run.id) != run.record.state:
                    told[run.id] = run.record.state
                    output.note(f"{run.record.name}: {run.record.state}{_reached(run)}")
            if view.is_over:
                return view
            time.sleep(POLL_S)
            engine.runs.refresh()
    except KeyboardInterrupt:
        output.note(
            f"No longer waiting. Runs that have started go on; `sweeps {sweep_id} cancel` stops "
            "them. The others start while the dashboard runs."
        )
        raise typer.Exit(130) from None


def _reached(run: RunView) -> str:
    if run.newest is None:
        return ""
    loss = run.newest.loss if run.result is None else run.result.eval_loss or run.newest.loss
    reason = run.result.stopped_because if run.result else None
    return f" after step {run.newest.step}, loss {loss:.4f}" + (f" ({reason})" if reason else "")


def _print_sweep(view: SweepView, as_json: bool) -> None:
    if as_json:
        print_json(_whole(view))
        return
    typer.echo(f"{view.id}  {view.name}")
    print_table(
        ("id", "state", "step", "eval loss", "name"),
        ((run.id, run.record.state, *_figures(run), run.record.name) for run in view.runs),
    )
    for name in view.deleted:
        output.note(f"{name}: deleted")
    if view.problem is not None:
        output.note(view.problem)


def _figures(run: RunView) -> tuple[int, str]:
    evaluated = None if run.result is None else run.result.eval_loss
    step = 0 if run.newest is None else run.newest.step
    return step, "-" if evaluated is None else f"{evaluated:.4f}"


def _print_list(views: Sequence[SweepView], as_json: bool) -> None:
    if as_json:
        print_json([_whole(view) for view in views])
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


def _whole(view: SweepView) -> dict[str, Any]:
    return {
        "id": view.id,
        "name": view.name,
        "created_at": view.created_at,
        "axes": [axis.model_dump() for axis in view.spec.axes] if view.spec else None,
        "stop_worse": view.spec.stop_worse if view.spec else None,
        "runs": [_child(run) for run in view.runs],
        "deleted": view.deleted,
        "problem": view.problem,
    }


def _child(run: RunView) -> dict[str, Any]:
    spec = run.record.spec
    return {
        "id": run.id,
        "name": run.record.name,
        "state": run.record.state,
        "rank": spec.method.rank if spec else None,
        "learning_rate": spec.optimization.learning_rate if spec else None,
        "seed": spec.seed if spec else None,
        "step": run.newest.step if run.newest else 0,
        "result": run.result.model_dump() if run.result else None,
    }
