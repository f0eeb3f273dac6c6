"""What of a run becomes options and shell of its Slurm job, and how Slurm's answers are read."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launchers import refuse_unconfigured
from lora_engine.runs.launchers.slurm.client import NoAnswer, Refused, SlurmClient
from lora_engine.runs.launchers.slurm.script import job_options, job_script
from lora_engine.runs.launchers.versions import packages_here
from lora_engine.settings import Settings
from lora_engine.spec import spec_from

NAME = "x'; touch $(id)\n#SBATCH --wrap=`id`"


def stand_in(folder: Path, command: str, lines: str) -> None:
    path = folder / command
    path.write_text(f"#!/bin/sh\n{lines}\n", "utf-8")
    path.chmod(0o755)


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_nothing_typed_becomes_shell_or_an_option(tmp_path):
    settings = Settings(
        data_dir=tmp_path / "it's $HOME; %j", slurm_folder=Path("/shared/it's $HOME"),
        slurm_partition="gpu", slurm_minutes=90,
    )  # fmt: skip
    spec = spec_from({"launcher": "slurm", "resources": {"cpus": 4, "gpus": 2, "memory_gib": 1.5}})
    directory = RunDirectory(settings.runs_dir / "20260101-abc")
    options = job_options(directory, spec, settings)
    assert {"--partition=gpu", "--time=90", "--cpus-per-task=4", "--gres=gpu:2"} <= set(options)
    assert {"--mem=1536M", "--requeue", "--signal=B:TERM@60"} <= set(options)
    script = job_script(directory, spec, settings, resume=True)
    last = shlex.split(script.strip().splitlines()[-1])
    assert last[4] == "/shared/it's $HOME/runs/20260101-abc"
    assert last[-1] == "--resume"
    assert f"torch={packages_here()['torch']}" in last
    assert "#SBATCH" not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_so_little_memory_that_slurm_takes_it_for_all_is_refused():
    with pytest.raises(InvalidInput, match="resources.memory_gib"):
        spec_from({"resources": {"memory_gib": 1e-9}})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LORA_SLURM_HOST", "-oProxyCommand=id"),
        ("LORA_SLURM_PARTITION", "gpu\n#SBATCH --wrap=id"),
        ("LORA_SLURM_PYTHON", "python; id"),
        ("LORA_SLURM_ACCOUNT", "--uid=0"),
    ],
)
def test_a_setting_that_would_be_an_option_is_refused(variable, value, tmp_path):
    with pytest.raises(InvalidInput):
        load_settings({"LORA_DATA_DIR": str(tmp_path), variable: value})


def test_a_run_for_slurm_needs_a_slurm(tmp_path):
    with pytest.raises(EngineError):
        refuse_unconfigured(spec_from({"launcher": "slurm"}), Settings(data_dir=tmp_path))


def test_over_ssh_each_word_is_quoted_and_no_password_asked(commands, tmp_path):
    stand_in(commands, "ssh", f'printf "%s\\n" "$@" > {tmp_path}/asked\nfor last; do :; done\n'
             'exec sh -c "$last"')  # fmt: skip
    stand_in(commands, "sbatch", f'cat > {tmp_path}/script; printf "%s\\n" "$2" > {tmp_path}/name\n'
             "echo '17;cluster'")  # fmt: skip
    client = SlurmClient(Settings(slurm_host="me@login.example"))
    assert client.submit([NAME], "the script") == "17"
    asked = (tmp_path / "asked").read_text("utf-8")
    assert "BatchMode=yes" in asked
    assert "me@login.example" in asked.splitlines()
    assert (tmp_path / "name").read_text("utf-8") == f"{NAME}\n"
    assert (tmp_path / "script").read_text("utf-8") == "the script"


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ("sbatch: error: Unable to contact slurm controller (connect failure)", NoAnswer),
        ("sbatch: error: Incompatible versions of client and server code", Refused),
        ("sbatch: error: invalid partition specified: nowhere", Refused),
    ],
)
def test_an_answer_is_a_sentence_of_its_kind(commands, says, kind):
    stand_in(commands, "sbatch", f"echo '{says}' >&2; exit 1")
    with pytest.raises(kind) as raised:
        SlurmClient(Settings(slurm_host="local")).submit([], "")
    assert says.removeprefix("sbatch: error: ") in raised.value.problem


def test_a_login_node_without_slurm_is_said(commands):
    stand_in(commands, "ssh", "exit 127")
    with pytest.raises(Refused, match=r"sbatch.*login\.example"):
        SlurmClient(Settings(slurm_host="login.example")).submit([], "")
