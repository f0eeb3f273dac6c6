"""Commands that start, watch and stop runs, and keep the list of them in order."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.cli import output
from lora_engine.cli.output import JsonFlag, print_json, print_table
from lora_engine.devices import list_devices
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.runs.launcher import launch, lock_patiently, signal_worker
from lora_engine.runs.service import RunView
from lora_engine.runs.states import ACTIVE, RunState
from lora_engine.settings import load_settings
from lora_engine.spec import read_spec
from lora_engine.training.preflight import check_run

POLL_S = 0.2

SpecFile = Annotated[Path, typer.Argument(help="The spec, a JSON file (docs/spec.md).")]
RunId = Annotated[str, typer.Argument(help="The id that `runs` lists.")]


def register(app: typer.Typer) -> None:
    for command in (train, submit, runs, show, pause, cancel, resume, delete, note, tag, queue):
        app.command()(command)


def train(
    spec_file: SpecFile,
    run_dir: Annotated[Path | None, typer.Option(help="Train into this folder.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest valid checkpoint there.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Train in the foreground; Ctrl-C stops after the present step and keeps the adapter."""
    if resume and run_dir is None:
        raise EngineError(
            "--resume needs to know which run.", "Give --run-dir, or use `resume ID`."
        )
    result = _train_listed(spec_file) if run_dir is None else _train_in(run_dir, spec_file, resume)
    if result.error is not None and result.error.is_bug:
        output.note(f"{result.error.problem}\n{result.error.remedy}")
        raise typer.Exit(1)
    if result.error is not None:
        raise EngineError(result.error.problem, result.error.remedy)
    if json:
        print_json(result.model_dump())
    else:
        loss = "-" if result.train_loss is None else f"{result.train_loss:.4f}"
        typer.echo(f"{result.state} after {result.steps} steps, mean training loss {loss}")


def submit(spec_file: SpecFile, json: JsonFlag = False) -> None:
    """Queue a run; it goes on when this command has ended."""
    engine = _engine()
    _print_run(engine.runs.submit(read_spec(spec_file)), json)


def runs(json: JsonFlag = False) -> None:
    """List the runs, newest first."""
    engine = _engine()
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


def show(run_id: RunId, json: JsonFlag = False) -> None:
    """Show one run, and the shell command that trains the same again."""
    engine = _engine()
    view, command = engine.runs.get(run_id), engine.runs.shell_command(run_id)
    if json:
        print_json({**_whole(view), "command": command})
    else:
        _print_run(view, json)
        typer.echo(command)


def cancel(run_id: RunId, json: JsonFlag = False) -> None:
    """Ask a run to stop; it saves what it has first."""
    engine = _engine()
    engine.runs.cancel(run_id)
    _print_run(_when_stopped(engine, run_id), json)


def pause(run_id: RunId, json: JsonFlag = False) -> None:
    """Ask a run to save a checkpoint and stop, to be resumed later."""
    engine = _engine()
    engine.runs.pause(run_id)
    _print_run(_when_stopped(engine, run_id), json)


def resume(run_id: RunId, json: JsonFlag = False) -> None:
    """Go on with a run that was paused, interrupted, failed or was cancelled."""
    engine = _engine()
    _print_run(engine.runs.resume(run_id), json)


def delete(
    run_id: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    json: JsonFlag = False,
) -> None:
    """Delete a run that is over, with its checkpoints and its adapter."""
    engine = _engine()
    name = engine.runs.get(run_id).record.name
    if not yes:
        if not sys.stdin.isatty():
            raise EngineError(
                f"Run {run_id} ({name}) would be deleted for good.", "Give --yes to do it."
            )
        typer.confirm(f"Delete run {run_id} ({name}) for good?", abort=True, err=True)
    engine.runs.delete(run_id)
    if json:
        print_json({"id": run_id, "state": "deleted"})
    else:
        typer.echo(f"{run_id}  deleted")


def note(
    run_id: RunId,
    text: Annotated[str, typer.Argument(help="The note; an empty one removes it.")],
    json: JsonFlag = False,
) -> None:
    """Write a note to a run."""
    engine = _engine()
    _print_run(engine.runs.annotate(run_id, text, engine.runs.get(run_id).record.tags), json)


def tag(
    run_id: RunId,
    tags: Annotated[list[str] | None, typer.Argument(help="The tags; none removes all.")] = None,
    json: JsonFlag = False,
) -> None:
    """Set the tags of a run."""
    engine = _engine()
    _print_run(engine.runs.annotate(run_id, engine.runs.get(run_id).record.note, tags or []), json)


def queue(
    run_id: Annotated[str | None, typer.Argument(help="A run that waits.")] = None,
    places: Annotated[
        int, typer.Option("--by", help="Places to move it: negative starts it earlier.")
    ] = 0,
    json: JsonFlag = False,
) -> None:
    """List the runs that wait in the order in which they will start, or move one."""
    engine = _engine()
    order = engine.runs.queue() if run_id is None else engine.runs.move_in_queue(run_id, places)
    if json:
        print_json(order)
    else:
        print_table(("place", "id"), ((str(place), one) for place, one in enumerate(order, 1)))


def _engine() -> Engine:
    engine = Engine(load_settings())
    engine.runs.refresh()
    return engine


def _when_stopped(engine: Engine, run_id: str) -> RunView:
    while engine.runs.get(run_id).record.state in (RunState.PAUSING, RunState.CANCELLING):
        time.sleep(POLL_S)
        engine.runs.refresh()
    return engine.runs.get(run_id)


def _train_listed(spec_file: Path) -> RunResult:
    """Train as a run of the list, so that the dashboard and `compare` know it."""
    engine = _engine()
    run_id = engine.runs.submit(read_spec(spec_file)).id
    output.note(f"run {run_id} in {engine.runs.directory(run_id).path}")
    signal.signal(signal.SIGINT, lambda *_: engine.runs.cancel(run_id))
    signal.signal(signal.SIGTERM, lambda *_: engine.runs.cancel(run_id))
    shown = 0
    while engine.runs.get(run_id).record.state in (RunState.QUEUED, *ACTIVE):
        shown = _follow_log(engine.runs.directory(run_id), shown)
        time.sleep(POLL_S)
        engine.runs.refresh()
    _follow_log(engine.runs.directory(run_id), shown)
    result = engine.runs.get(run_id).result
    return result or _no_result(engine.runs.directory(run_id), engine.runs.get(run_id).record.state)


def _train_in(run_dir: Path, spec_file: Path, resume: bool) -> RunResult:
    """Train into a folder of the person's own, outside the list."""
    settings = load_settings()
    spec = read_spec(spec_file)
    check_run(spec, settings)
    directory = RunDirectory(run_dir.resolve())
    if directory.metrics_path.exists() and not resume:
        raise Conflict(
            f"{run_dir} already holds a run.", "Give --resume to go on, or another folder."
        )
    directory.create(spec)
    device = list_devices(settings)[0]
    worker = launch(directory, settings, resume, lock_patiently(directory), device)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signal_worker(directory, signal.SIGTERM))
    shown = 0
    while worker.poll() is None:
        shown = _follow_log(directory, shown)
        try:
            worker.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            continue
    _follow_log(directory, shown)
    return directory.result() or _no_result(directory, f"killed (exit status {worker.returncode})")


def _no_result(directory: RunDirectory, state: str) -> RunResult:
    raise EngineError(
        f"The worker ended without a result: {state}.",
        f"Its log is {directory.log_path}; the run can be resumed.",
    )


def _follow_log(directory: RunDirectory, shown: int) -> int:
    """Copy what the worker logged since byte `shown` to standard error."""
    if not directory.log_path.exists():
        return shown
    with directory.log_path.open("rb") as file:
        file.seek(shown)
        new = file.read()
    sys.stderr.write(new.decode("utf-8", "replace"))
    sys.stderr.flush()
    return shown + len(new)


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
        "problem": view.problem,
        "newest": view.newest.model_dump() if view.newest else None,
        "result": view.result.model_dump() if view.result else None,
    }


def _whole(view: RunView) -> dict[str, Any]:
    spec = view.record.spec
    return {**_summary(view), "spec": None if spec is None else spec.model_dump(mode="json")}


def _print_run(view: RunView, as_json: bool) -> None:
    if as_json:
        print_json(_whole(view))
        return
    typer.echo(f"{view.id}  {view.record.state}  {view.record.name}")
    if view.problem is not None:
        output.note(f"Unreadable: {view.problem}.")
    if view.newest is not None:
        newest = view.newest
        typer.echo(f"step {newest.step} of {newest.total_steps}, loss {newest.loss:.4f}")
    if view.result is not None and view.result.error is not None:
        typer.echo(f"{view.result.error.problem} {view.result.error.remedy}")
