"""Dashboards that start at once: one process imports everything, and every server is a fork of it.

    python -m tests.browser.forked_server

It reads one JSON request a line (the server's environment and its log) and answers with the
process id. A fork runs the app's own `main`. That the app starts from nothing is shown by the
`server` fixture and by the tests of an installed one.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


class ForkedProcess:
    """A process that is another's child, with what tests ask of a `Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """None while it lives; how it ended is known to its parent alone."""
        return 0 if self._has_ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        return 0

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def _has_ended(self, timeout: float | None) -> bool:
        return bool(select.select([self._handle], [], [], timeout)[0])


class ForkingProcess:
    """Asks the process that has imported everything for servers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.forked_server"],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, environment: dict[str, str], log: Path) -> ForkedProcess:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"environment": environment, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return ForkedProcess(int(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    """Fork a server for each request until there are no more."""
    with tempfile.TemporaryDirectory() as folder:
        app = _import_everything(Path(folder))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel clears away what has ended
        answers = os.fdopen(os.dup(1), "w")
        for line in sys.stdin:
            request = json.loads(line)
            child = os.fork()
            if child == 0:
                os._exit(_serve(app, request["environment"], request["log"]))
            answers.write(f"{child}\n")
            answers.flush()


def _import_everything(folder: Path):
    from pages.shared import quiet_gradio

    quiet_gradio.quiet_environment(folder)  # before gradio comes, as the app itself does

    import app
    import pages.shared.wiring  # noqa: F401
    from lora_engine.engine import Engine  # noqa: F401
    from lora_engine.library_imports import import_bitsandbytes, import_peft

    import_peft()
    import_bitsandbytes()
    from transformers.models.llama import modeling_llama  # noqa: F401

    gc.freeze()
    return app


def _serve(app, environment: dict[str, str], log: str) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    try:
        return app.main([])
    except BaseException:  # noqa: BLE001 - a fork must never return into the loop of its parent
        import traceback

        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
