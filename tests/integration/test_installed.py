"""Installed with pip, Rankscope works from any folder: the console script and the dashboard.

A wheel is built from this tree and installed into a fresh environment. What it depends on is
borrowed from the environment that runs the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (".git", ".venv", "node_modules", "build", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def rankscope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script of a fresh environment with the wheel of this tree in it."""
    work = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT, work / "source", ignore=shutil.ignore_patterns(*LEFT_OUT))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", work, work / "source"])
    (wheel,) = work.glob("rankscope-*.whl")

    run([sys.executable, "-m", "venv", "--without-pip", work / "venv"])
    (packages,) = (work / "venv" / "lib").glob("python3*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()), "utf-8")
    run([*pip, "--python", work / "venv" / "bin" / "python", "install", "-q", "--no-deps", wheel])
    shutil.rmtree(work / "source")
    return work / "venv" / "bin" / "rankscope"


def run(command: list, **options) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(data_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "LORA_DATA_DIR": str(data_dir), "HF_HUB_OFFLINE": "1"}


def test_doctor_and_the_starter_are_there(rankscope: Path, tmp_path: Path) -> None:
    options = {"cwd": tmp_path, "env": environment(tmp_path / "data")}
    checks = json.loads(run([rankscope, "doctor", "--json"], **options))["checks"]
    assert {check["name"] for check in checks if check["ok"]} >= {"torch", "transformers", "peft"}
    (starter, *_) = json.loads(run([rankscope, "models", "--json"], **options))
    assert starter["name"] == "starter"
    assert str(rankscope.parents[1]) in starter["path"], "the wheel's own copy is used"
    (adapter,) = json.loads(run([rankscope, "adapters", "--json"], **options))
    assert (adapter["bundled"], adapter["rank"]) == (True, 8)
    assert str(rankscope.parents[1]) in adapter["path"]


def test_the_dashboard_is_served_with_its_static_files(rankscope: Path, tmp_path: Path) -> None:
    server = subprocess.Popen(
        [rankscope, "serve", "--port", "0"],
        cwd=tmp_path, env=environment(tmp_path / "data"), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split(" at ")[1].split()[0]
        until = time.monotonic() + 60
        while True:
            try:
                page = urllib.request.urlopen(address, timeout=10).read().decode()
                break
            except OSError:
                assert time.monotonic() < until
        styles = re.search(r"/rankscope/[^\"\\]+\.css[^\"\\]*", page)
        assert styles is not None
        assert b"--rs-" in urllib.request.urlopen(address + styles[0], timeout=10).read()
    finally:
        server.terminate()
        server.communicate(timeout=20)
