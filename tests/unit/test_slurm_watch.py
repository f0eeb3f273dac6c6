"""What a person is told where Slurm fails: over commands that stand in, in its watcher's words,
and what of the run is then kept."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lora_engine import doctor
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import remembering, speaking
from lora_engine.run_folder import RunDirectory, RunProblem, RunResult, try_lock
from lora_engine.runs.launcher import worker_environment
from lora_engine.runs.launchers import read_queue, read_trouble
from lora_engine.runs.launchers.slurm.client import Refused, SlurmClient
from lora_engine.runs.launchers.slurm.job import COULD_NOT_BEGIN
from lora_engine.runs.launchers.slurm.ownership import is_wanted, remember_job, remembered_job
from lora_engine.runs.launchers.slurm.watch import Watch
from lora_engine.runs.launchers.watching import Ear
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from pages.runs.run_summary import heading

NO_CONTROLLER = (
    "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
)


class Commands:
    """Slurm's commands as scripts; what they said and did lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set("sbatch", f"echo x >> {folder}/submitted; echo 17")
        self.set("scancel", f"mkdir -p {folder}/cancelled")
        self.set("scontrol", "true")
        self.says("")

    def set(self, command: str, lines: str) -> None:
        path = self.folder / command
        path.write_text(f"#!/bin/sh\n{lines}\n", "utf-8")
        path.chmod(0o755)

    def says(self, *answers: str) -> None:
        """The answers of squeue about the job, one after another, the last for ever; each a state,
        or a command."""
        lines = [
            f"echo x >> {self.folder}/asked; n=$(wc -l < {self.folder}/asked)",
            'case "$*" in *--name*) exit 0;; esac',
        ]
        for number, answer in enumerate(answers, 2):  # the first question is for its name
            said = answer if " " in answer else f"echo '17|{answer}|Resources|node1'"
            last = number > len(answers)
            lines.append(f"if [ $n -{'ge' if last else 'eq'} {number} ]; then {said}; exit; fi")
        self.set("squeue", "\n".join(lines))

    @property
    def submitted(self) -> int:
        found = self.folder / "submitted"
        return len(found.read_text().splitlines()) if found.exists() else 0


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Commands:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("lora_engine.runs.launchers.slurm.watch.FENCE_PATIENCE_S", 0.0)
    return Commands(folder)


@pytest.fixture
def on_slurm(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"slurm_host": "local", "slurm_poll_s": 0.1, "slurm_patience_s": 1.0}
    )


@pytest.fixture
def directory(on_slurm: Settings) -> RunDirectory:
    """A run of the list that counts as started; nobody follows it yet."""
    on_slurm.data_dir.mkdir()
    store = RunStore(on_slurm.database_path)
    spec = RunSpec(launcher="slurm")
    store.add("run", spec)
    store.claim(["run"], "slurm run")
    directory = RunDirectory(on_slurm.runs_dir / "run")
    directory.create(spec)
    return directory


def followed(directory: RunDirectory, settings: Settings) -> Engine:
    with remembering():
        Watch(directory, settings, Ear()).follow(resume=False)
    engine = Engine(settings)
    engine.runs.refresh()
    return engine


def told(engine: Engine) -> str:
    view = engine.runs.get("run")
    assert view.trouble is not None
    assert view.trouble.problem in heading(engine, view).replace("&#x27;", "'")
    return view.trouble.problem


def test_a_controller_that_falls_silent_is_named_and_the_run_is_interrupted(
    commands, directory, on_slurm, run_command
):
    commands.says("RUNNING", NO_CONTROLLER)
    engine = followed(directory, on_slurm)
    assert engine.runs.get("run").record.state is RunState.INTERRUPTED
    assert "Unable to contact slurm controller" in told(engine)
    with speaking("zh"):
        assert told(engine).startswith("Slurm 已")
    _, out, _ = run_command("show", "run", "--json")
    assert "Unable to contact slurm controller" in json.loads(out)["trouble"]
    assert remembered_job(directory) is None
    assert directory.stop_requested()  # its job may live


def test_one_that_answers_again_is_no_trouble(commands, directory, on_slurm):
    commands.says("RUNNING", NO_CONTROLLER, "COMPLETED")
    directory.write_result(RunResult.failed(RunProblem(problem="No rows.", remedy="Give some.")))
    followed(directory, on_slurm)
    assert read_trouble(directory) is None


@pytest.mark.parametrize("ends", ["NODE_FAIL", "TIMEOUT", "PREEMPTED"])
def test_a_job_that_ends_without_a_result_is_told_with_its_state(
    commands, directory, on_slurm, ends
):
    commands.says("PENDING", ends)
    engine = followed(directory, on_slurm)
    assert engine.runs.get("run").record.state is RunState.INTERRUPTED
    assert ends in told(engine)
    assert read_queue(directory).why == "Resources"


def test_a_job_whose_end_nobody_saw_is_not_submitted_again(commands, directory, on_slurm):
    remember_job(directory, "17")
    commands.says("NODE_FAIL")
    engine = followed(directory, on_slurm)
    assert commands.submitted == 0
    assert engine.runs.get("run").record.state is RunState.INTERRUPTED


@pytest.mark.slow
def test_on_a_full_disk_the_job_is_cancelled_and_not_submitted_for_ever(
    commands, directory, on_slurm
):
    """RLIMIT_FSIZE stands for the disk: nothing can be written, files can be removed."""
    commands.set("sbatch", f"mkdir {commands.folder}/$$-job; echo 17")
    commands.set("squeue", "exit 0")
    lock = try_lock(directory)
    environment = worker_environment(os.environ, on_slurm, "cpu") | {"LORA_SLURM_HOST": "local"}
    module = "lora_engine.runs.launchers.slurm.watch"
    words = [sys.executable, "-m", module, str(directory.path), "--lock-fd", str(lock.descriptor)]
    subprocess.run(
        words,
        env=environment,
        pass_fds=[lock.descriptor],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        check=True,
        timeout=120,
    )
    lock.close()
    assert (commands.folder / "cancelled").is_dir()
    engine = Engine(on_slurm)
    for _ in range(3):
        engine.runs.refresh()
    assert engine.runs.get("run").record.state is RunState.INTERRUPTED
    assert len(list(commands.folder.glob("*-job"))) == 1
    assert json.loads(directory.spec_path.read_text())["launcher"] == "slurm"


def test_other_versions_on_the_node_stand_in_the_log(directory, monkeypatch):
    from lora_engine.runs.launchers.slurm import job

    remember_job(directory, "16")
    monkeypatch.setenv("SLURM_JOB_ID", "16")
    monkeypatch.setattr(job.worker, "main", lambda _: 0)
    monkeypatch.setattr("sys.argv", ["job", str(directory.path), "--sent-with", "torch=1.0"])
    assert job.main() == 0
    assert "(1.0)" in directory.log_tail(5)


def test_a_job_that_nobody_follows_does_not_train(directory, monkeypatch, capsys):
    from lora_engine.runs.launchers.slurm import job

    monkeypatch.setattr(job, "NAMED_PATIENCE_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "16")
    monkeypatch.setattr("sys.argv", ["job", str(directory.path)])
    assert job.main() == COULD_NOT_BEGIN
    remember_job(directory, "17")
    assert job.main() == COULD_NOT_BEGIN
    assert is_wanted(directory, "17", 0.0)
    assert directory.last_metrics() is None


def test_a_host_that_greets_is_understood_and_one_that_is_no_slurm_refused(commands):
    client = SlurmClient(Settings(slurm_host="local"))
    commands.set("sbatch", "echo 'Welcome to the cluster|a|b|c'; echo '17;west'")
    commands.set("sinfo", "echo 'Welcome to the cluster'; echo 'slurm-wlm 22.05.8'")
    commands.set("squeue", "echo 'Welcome|to|the|cluster'; echo '17|RUNNING|None|node1'")
    assert client.submit([], "") == "17"
    assert client.version() == "slurm-wlm 22.05.8"
    assert client.find("rankscope-x").number == "17"
    commands.set("sinfo", "echo 'GNU coreutils 9.1'")
    with pytest.raises(Refused, match="GNU coreutils"):
        client.version()


@pytest.mark.parametrize(
    ("partition", "is_there"), [(None, True), ("small", True), ("smal", False)]
)
def test_the_doctor_knows_a_mistyped_partition(commands, partition, is_there):
    commands.set("sinfo", 'if [ "$1" = --version ]; then echo slurm 23.11; else '
                 "echo 'small* 2 nodes gpu:1'; echo 'long 1 nodes (null)'; fi")  # fmt: skip
    check = doctor._slurm(Settings(slurm_host="local", slurm_partition=partition))
    assert check.ok is is_there
    assert "small" in check.detail


def test_a_command_that_cannot_be_started_and_an_ssh_that_is_missing_are_said(
    commands, monkeypatch
):
    (commands.folder / "sinfo").mkdir()
    monkeypatch.setenv("PATH", str(commands.folder))
    for host, named in (("local", "sinfo"), ("login.example", "ssh")):
        with pytest.raises(EngineError, match=named):
            SlurmClient(Settings(slurm_host=host)).version()


def test_a_trouble_that_cannot_be_read_says_nothing(directory):
    (directory.path / "trouble.json").write_bytes(b"\x00torn")
    assert read_trouble(directory) is None
