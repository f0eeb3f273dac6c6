"""The command `train`: one training in the foreground, in the list of runs or in a folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lora_engine.cli import output
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import print_json
from lora_engine.cli.runs import POLL_S, open_engine, spec_file_argument
from lora_engine.devices import list_devices, named_devices
from lora_engine.environment import load_settings
from lora_engine.errors import Conflict, EngineError
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.runs.launcher import HeldRun, launch, lock_patiently, signal_worker
from lora_engine.runs.launchers import refuse_held_elsewhere
from lora_engine.runs.states import ACTIVE, RunState, state_name
from lora_engine.spec import read_spec
from lora_engine.training.preflight import check_run


def register(app: typer.Typer) -> None:
    add_commands(app, train)


def train(
    spec_file: Annotated[Path, spec_file_argument()],
    run_dir: Annotated[Path | None, typer.Option(help=tr("Train into this folder."))] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help=tr("Go on from the newest valid checkpoint there."))
    ] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Train in the foreground; Ctrl-C stops after the present step and keeps the adapter."""
    if resume and run_dir is None:
        raise EngineError(
            tr("--resume needs to know which run."), tr("Give --run-dir, or use `resume ID`.")
        )
    result = _train_listed(spec_file) if run_dir is None else _train_in(run_dir, spec_file, resume)
    if result.error is not None and result.error.is_bug:
        output.note(f"{result.error.problem}\n{result.error.remedy}")
        raise typer.Exit(1)
    if result.error is not None:
        raise EngineError(result.error.problem, result.error.remedy)
    if json:
        print_json(result.model_dump(exclude={"said"}))
    else:
        loss = "-" if result.train_loss is None else f"{result.train_loss:.4f}"
        typer.echo(
            tr(
                "{state} after {steps} steps, mean training loss {loss}",
                state=state_name(RunState(result.state)),
                steps=result.steps,
                loss=loss,
            )
        )


def _train_listed(spec_file: Path) -> RunResult:
    """Train as a run of the list, so that the dashboard and `compare` know it."""
    runs = open_engine().runs
    run_id = runs.submit(read_spec(spec_file)).id
    directory = runs.directory(run_id)
    output.note(tr("run {run_id} in {folder}", run_id=run_id, folder=directory.path))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runs.cancel(run_id))
    shown = 0
    while runs.get(run_id).record.state in (RunState.QUEUED, *ACTIVE):
        shown = _follow_log(directory, shown)
        time.sleep(POLL_S)
        runs.refresh()
    _follow_log(directory, shown)
    ended = runs.get(run_id)
    if ended.result is None:
        _refuse_without_result(directory, ended.record.state)
    return ended.result


def _train_in(run_dir: Path, spec_file: Path, resume: bool) -> RunResult:
    """Train into a folder of the person's own, outside the list."""
    settings = load_settings()
    spec = read_spec(spec_file)
    spec = check_run(spec, settings)
    directory = RunDirectory(run_dir.resolve())
    if directory.metrics_path.exists() and not resume:
        raise Conflict(
            tr("{run_dir} already holds a run.", run_dir=run_dir),
            tr("Give --resume to go on, or another folder."),
        )
    directory.path.mkdir(parents=True, exist_ok=True)
    held = HeldRun(directory, lock_patiently(directory))
    refuse_held_elsewhere(directory, spec.model_copy(update={"launcher": "local"}))
    directory.create(spec)
    device = named_devices(list_devices(settings), spec.optimization.devices)
    worker = launch([held], settings, resume, device)
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
    result = directory.result()
    if result is None:
        status = worker.returncode
        _refuse_without_result(
            directory, f"killed (signal {-status})" if status < 0 else f"exit status {status}"
        )
    return result


def _refuse_without_result(directory: RunDirectory, state: str) -> NoReturn:
    raise EngineError(
        tr("The worker ended without a result: {state}.", state=state),
        tr("Its log is {log_path}; the run can be resumed.", log_path=directory.log_path),
    )


def _follow_log(directory: RunDirectory, shown: int) -> int:
    """Copy what the worker logged since byte `shown` to standard error; the log's new length."""
    if not directory.log_path.exists():
        return shown
    with directory.log_path.open("rb") as file:
        file.seek(shown)
        new = file.read()
    sys.stderr.write(new.decode("utf-8", "replace"))
    sys.stderr.flush()
    return shown + len(new)
