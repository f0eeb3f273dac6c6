"""A real Ray of one node for the tests: its head is started and killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.waiting import free_port, kill_all

BIN = Path(sys.executable).parent
IS_INSTALLED = (BIN / "ray").exists()


class RayCluster:
    """Two cores, a small object store, ports and a folder of its own (Ray's sockets need a short
    path)."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self._port, dashboard, self._agent = (free_port() for _ in range(3))
        self._dashboard = dashboard
        self.address = f"http://127.0.0.1:{dashboard}"
        self._environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> None:
        """Until the head answers."""
        words = [str(BIN / "ray"), "start", "--head", f"--port={self._port}"]
        words += [f"--dashboard-port={self._dashboard}", "--dashboard-host=127.0.0.1"]
        words += [f"--dashboard-agent-listen-port={self._agent}", "--node-ip-address=127.0.0.1"]
        words += ["--num-cpus=2", "--num-gpus=0", "--object-store-memory=80000000"]
        words += ["--disable-usage-stats", f"--temp-dir={self._folder}"]
        subprocess.run(
            words, env=self._environment, check=True, timeout=180, stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """All of Ray that was started from this folder, and nothing else, with SIGKILL."""
        kill_all(_processes_of(self._folder))

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _processes_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if str(folder) in words or process.environ().get("RAY_TMPDIR") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    children = []
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            children += one.children(recursive=True)
    own = os.getpid()
    return [one for one in {*found, *children} if one.pid != own]
