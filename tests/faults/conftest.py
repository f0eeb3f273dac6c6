"""What the fault tests share: a forking process for workers, runs of twelve small steps, and a disk
that is really small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec, spec_from
from tests.faults.zygote import ROOT, Zygote

NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-Ur", "--mount"]


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    folder = tmp_path_factory.mktemp("zygote")
    started = Zygote({"LORA_DATA_DIR": str(folder), "LORA_DEVICE": "cpu"})
    yield started
    started.close()


@pytest.fixture(scope="session")
def on_a_small_disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """Runs `tests.faults.MODULE` where it may mount a disk on the `folder` of its request, and
    gives back what it prints. Skips where the kernel lets nobody mount a disk."""
    folder = tmp_path_factory.mktemp("small") / "disk"
    folder.mkdir()
    trial = [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {tried.stderr.strip()}")

    def run(module: str, **request: object) -> dict:
        words = json.dumps({**request, "folder": str(folder)})
        done = subprocess.run(
            [*NAMESPACE, sys.executable, "-m", f"tests.faults.{module}", words],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def twelve_steps(tiny_llama: Path, rows_file: Path) -> Callable[..., RunSpec]:
    """A spec with everything that a resumed run must find again: dropout, accumulation, warm-up."""

    def make(**optimization) -> RunSpec:
        return spec_from(
            {
                "name": "twelve steps",
                "base_model": str(tiny_llama),
                "dataset": {"source": str(rows_file), "eval_fraction": 0.2},
                "method": {"dropout": 0.1, "rank": 4},
                "report": {"samples": 1, "sample_tokens": 4},
                "optimization": {
                    "learning_rate": 0.01,
                    "batch_size": 4,
                    "gradient_accumulation": 2,
                    "warmup_ratio": 0.25,
                    "max_steps": 12,
                    "save_every": 5,
                    "eval_every": 4,
                    **optimization,
                },
            }
        )

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str, RunSpec], RunDirectory]:
    def make(name: str, spec: RunSpec) -> RunDirectory:
        directory = RunDirectory(tmp_path / "runs" / name)
        directory.create(spec)
        return directory

    return make
