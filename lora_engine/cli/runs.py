"""Commands on the list of runs: submit, watch, stop, resume, annotate, reorder, delete."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.cli import output
from lora_engine.cli.options import add_commands, json_flag, yes_flag
from lora_engine.cli.output import print_json, print_table
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.language import tr
from lora_engine.runs.resuming import Place
from lora_engine.runs.service import RunView
from lora_engine.runs.states import RunState, state_name
from lora_engine.spec import read_spec

POLL_S = 0.2


def spec_file_argument() -> Any:
    return typer.Argument(help=tr("The spec, a JSON file (docs/spec.md)."))


def run_id_argument() -> Any:
    return typer.Argument(help=tr("The id that `runs` lists."))


def register(app: typer.Typer) -> None:
    add_commands(app, submit, runs, show, pause, cancel, resume, extend, delete, note, tag, queue)


def submit(
    spec_file: Annotated[Path, spec_file_argument()], json: Annotated[bool, json_flag()] = False
) -> None:
    """Queue a run, which goes on after this command has ended."""
    engine, spec = open_engine(), read_spec(spec_file)
    run = engine.runs.submit(spec)
    for warning in engine.advisor.early_warnings(spec):
        output.note(f"! {warning.problem} {warning.remedy}")
    _print_run(run, json)


def runs(json: Annotated[bool, json_flag()] = False) -> None:
    """List the runs, newest first."""
    engine = open_engine()
    views = engine.runs.list()
    if json:
        print_json([_summary(view) for view in views])
        return
    print_table(
        ("id", "state", "step", "loss", "name"),
        (
            (
                view.id,
                view.record.state,
                view.newest.step if view.newest else 0,
                f"{view.newest.loss:.4f}" if view.newest else "-",
                view.record.name,
            )
            for view in views
        ),
    )
    for view in views:
        if view.problem is not None:
            output.note(f"{view.id}: {view.problem}")
    for run_id in engine.runs.queue()[:1]:
        wait = engine.runs.waits_for(run_id)
        if wait is not None:
            output.note(f"{run_id}: {wait.words()}")


def show(
    run_id: Annotated[str, run_id_argument()], json: Annotated[bool, json_flag()] = False
) -> None:
    """Show one run, and the shell command that trains the same again."""
    engine = open_engine()
    view, command = engine.runs.get(run_id), engine.runs.shell_command(run_id)
    if json:
        print_json({**_whole(view), "command": command})
    else:
        _print_run(view, json)
        typer.echo(command)


def cancel(
    run_id: Annotated[str, run_id_argument()], json: Annotated[bool, json_flag()] = False
) -> None:
    """Ask a run to save its adapter and stop; wait until it has."""
    engine = open_engine()
    engine.runs.cancel(run_id)
    _print_run(_when_stopped(engine, run_id), json)


def pause(
    run_id: Annotated[str, run_id_argument()], json: Annotated[bool, json_flag()] = False
) -> None:
    """Ask a run to save a checkpoint and stop, to be resumed later; wait until it has."""
    engine = open_engine()
    engine.runs.pause(run_id)
    _print_run(_when_stopped(engine, run_id), json)


def resume(
    run_id: Annotated[str, run_id_argument()],
    on: Annotated[
        str | None, typer.Option(help=tr("Go on at another place: local, ray or slurm."))
    ] = None,
    devices: Annotated[
        int | None, typer.Option(help=tr("Go on on so many cards or processes."))
    ] = None,
    cpus: Annotated[int | None, typer.Option(help=tr("Cores to ask a cluster for."))] = None,
    gpus: Annotated[int | None, typer.Option(help=tr("Cards to ask a cluster for."))] = None,
    memory_gib: Annotated[
        float | None, typer.Option(help=tr("Memory in GiB to ask a cluster for."))
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Resume a run that was paused, interrupted or cancelled, or that failed."""
    asked = {"cpus": cpus, "gpus": gpus, "memory_gib": memory_gib}
    given = {name: value for name, value in asked.items() if value is not None}
    engine = open_engine()
    _print_run(engine.runs.resume(run_id, Place(on, devices, given)), json)


def extend(
    run_id: Annotated[str, run_id_argument()],
    epochs: Annotated[
        float | None, typer.Option(help=tr("Passes over the training rows to add."))
    ] = None,
    steps: Annotated[int | None, typer.Option(help=tr("Steps to add, in place of epochs."))] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Train a finished run further, optimizer and all, as a new run; the finished one stays."""
    engine = open_engine()
    plan = engine.runs.plan_extension(run_id, epochs=epochs, steps=steps)
    output.note(plan.words)
    view = engine.runs.submit(plan.spec)
    if json:
        print_json({**_whole(view), "extension": plan.to_json()})
    else:
        _print_run(view, json)


def delete(
    run_id: Annotated[str, run_id_argument()],
    yes: Annotated[bool, yes_flag()] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Delete a run that is over, with its checkpoints and its adapter."""
    engine = open_engine()
    output.confirm_deletion(f"run {run_id} ({engine.runs.get(run_id).record.name})", yes)
    engine.runs.delete(run_id)
    if json:
        print_json({"id": run_id, "state": "deleted"})
    else:
        typer.echo(tr("{name}  deleted", name=run_id))


def note(
    run_id: Annotated[str, run_id_argument()],
    text: Annotated[str, typer.Argument(help=tr("The note; an empty one removes it."))],
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Set the note of a run."""
    engine = open_engine()
    _print_run(engine.runs.annotate(run_id, text, engine.runs.get(run_id).record.tags), json)


def tag(
    run_id: Annotated[str, run_id_argument()],
    tags: Annotated[
        list[str] | None, typer.Argument(help=tr("The tags; none removes all."))
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Set the tags of a run."""
    engine = open_engine()
    _print_run(engine.runs.annotate(run_id, engine.runs.get(run_id).record.note, tags or []), json)


def queue(
    run_id: Annotated[str | None, typer.Argument(help=tr("A waiting run, to move it."))] = None,
    places: Annotated[
        int, typer.Option("--by", help=tr("Places to move it: negative starts it earlier."))
    ] = 0,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """List the waiting runs in the order in which they will start, or move one of them."""
    engine = open_engine()
    order = engine.runs.queue() if run_id is None else engine.runs.move_in_queue(run_id, places)
    if json:
        print_json(order)
    else:
        print_table(("place", "id"), ((str(place), one) for place, one in enumerate(order, 1)))


def open_engine() -> Engine:
    """The engine over the person's settings, after one look at the workers."""
    engine = Engine(load_settings())
    engine.runs.refresh()
    return engine


def _when_stopped(engine: Engine, run_id: str) -> RunView:
    while engine.runs.get(run_id).record.state in (RunState.PAUSING, RunState.CANCELLING):
        time.sleep(POLL_S)
        engine.runs.refresh()
    return engine.runs.get(run_id)


def _summary(view: RunView) -> dict[str, Any]:
    record = view.record
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "device": record.device,
        "note": record.note,
        "tags": record.tags,
        "sweep": record.sweep,
        "problem": view.problem,
        "trouble": None if view.trouble is None else str(view.trouble),
        "waits_in_queue": view.queued is not None,
        "newest": view.newest.model_dump() if view.newest else None,
        "result": view.result.model_dump(exclude={"said"}) if view.result else None,
    }


def _whole(view: RunView) -> dict[str, Any]:
    spec = view.record.spec
    return {**_summary(view), "spec": None if spec is None else spec.model_dump(mode="json")}


def _print_run(view: RunView, as_json: bool) -> None:
    if as_json:
        print_json(_whole(view))
        return
    typer.echo(f"{view.id}  {state_name(view.record.state)}  {view.record.name}")
    if view.problem is not None:
        output.note(view.problem)
    if view.newest is not None:
        newest = view.newest
        typer.echo(
            tr(
                "step {step} of {total}, loss {loss}",
                step=newest.step,
                total=newest.total_steps,
                loss=f"{newest.loss:.4f}",
            )
        )
    if view.queued is not None:
        typer.echo(view.queued.words)
    if view.trouble is not None:
        typer.echo(f"{view.trouble.problem} {view.trouble.remedy}")
    if view.result is not None and view.result.error is not None:
        typer.echo(f"{view.result.error.problem} {view.result.error.remedy}")
