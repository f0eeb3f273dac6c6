"""`benchmarks/gpu_check.py` on a machine without a card: what of it can run, and what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import is_gone, wait_until

LONG = "import os, time; print(os.getpid(), file=open('LEFT', 'w'), flush=True); time.sleep(60)"
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_check.py"


def run(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def gpu_check():
    found = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(found)
    sys.modules["gpu_check"] = module  # which its dataclasses ask for
    found.loader.exec_module(module)
    return module


def test_without_a_card_it_says_so():
    ended = run()
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_lines_that_need_no_card_run():
    ended = run("--device", "cpu", "--tiny", "--json", "--only", "resume", "--only", "attention")
    report = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    resume, attention = report["lines"]
    assert (resume["name"], resume["state"]) == ("resume", "ok")
    assert resume["figures"]["loss_difference"] <= 1e-6
    assert (attention["name"], attention["state"]) == ("attention", "skipped")


def test_a_failed_line_is_a_line(gpu_check, tmp_path):
    def ended(code: str, budget_s: float = 30):
        return gpu_check.run_line([sys.executable, "-c", code], "line", budget_s)

    broken = ended("raise ValueError('no such kernel')")
    assert (broken.state, broken.reason) == ("failed", "ValueError: no such kernel")
    asleep = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {LONG!r}])"
    late = ended(asleep.replace("LEFT", str(tmp_path / "left")), budget_s=4)
    assert late.state == "failed"
    left = int((tmp_path / "left").read_text())
    wait_until(lambda: is_gone(left), 30)
    assert ended("print('no figures')").state == "failed"
    part = ended("""print('{"loss": 1, "failures": {"8 bits": "not finite"}}')""")
    assert (part.state, part.reason, part.figures) == ("failed", "8 bits: not finite", {"loss": 1})
    assert ended("""print('{"loss": 1}')""").state == "ok"
