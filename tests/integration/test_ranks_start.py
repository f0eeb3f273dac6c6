"""Several processes of one run, started as they are started for a person."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lora_engine.run_folder import RunDirectory
from tests.training_runs import tiny_spec

pytestmark = pytest.mark.slow
PATIENCE_S = 300


@pytest.mark.parametrize(
    "start",
    [(), ("torch.distributed.run", "--nproc-per-node", "2", "-m")],
    ids=["by the worker", "by torchrun"],
)
def test_two_processes_train_one_run(start, tiny_llama, rows_file, settings, tmp_path):
    directory = RunDirectory(tmp_path / "run")
    optimization = {"devices": 2, "max_steps": 2, "batch_size": 4}
    directory.create(tiny_spec(tiny_llama, rows_file, optimization=optimization))
    environment = {**os.environ, "LORA_DATA_DIR": str(settings.data_dir), "LORA_DEVICE": "cpu"}
    command = [sys.executable, "-m", *start, "lora_engine.training.worker", str(directory.path)]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    result = directory.result()
    assert result.state == "finished"
    assert (directory.adapter_path / "adapter_model.safetensors").is_file()
    assert ended.stderr.count("INFO base model") == 2  # each of the two loaded it
