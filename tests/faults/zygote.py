"""Workers that start at once: one process imports torch, and every run is a fork of it.

    python -m tests.faults.zygote

It reads one JSON request a line and answers with how the worker ended. A fork runs the worker's
own `main`, with the faults of the request made to happen in it; the kill is a real SIGKILL.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[2]
FULL_DEVICE = "/dev/full"  # every write to it fails with ENOSPC


class Zygote:
    """Asks the forking process for runs. `run` waits until the run has ended."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *directories: Path, resume: bool = False, **faults) -> int:
        """The worker's exit code; minus the number of the signal that ended it."""
        request = {"directories": [*map(str, directories)], "resume": resume, "faults": faults}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def kill_after_step(step: int) -> None:
    """SIGKILL as soon as the row of `step` is written, before anything is saved for it."""
    from lora_engine.run_folder import MetricsWriter

    write = MetricsWriter.write

    def write_and_die(self, row):
        write(self, row)
        if row.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    MetricsWriter.write = write_and_die


def spoil_loss(step: int, value: str) -> None:
    """The loss of a step becomes NaN or infinite; one forward pass a step, no evaluation."""
    from lora_engine.training.forward.packed import PackedPath

    summed_loss = PackedPath.summed_loss
    calls = 0

    def spoilt(self, batch):
        nonlocal calls
        calls += 1
        loss = summed_loss(self, batch)
        return loss * float(value) if calls == step else loss

    PackedPath.summed_loss = spoilt


def spoil_loss_of(name: str, step: int) -> None:
    """The loss of a step of one run among several becomes NaN."""
    from lora_engine.training.train_run import ReadyRun

    make_ready = ReadyRun.__init__

    def make_spoilt(self, run, *arguments, **named):
        make_ready(self, run, *arguments, **named)
        finish = self.steps.finish

        def spoilt(gradients):
            is_due = self.progress.step + 1 == step
            finish(replace(gradients, loss=float("nan")) if is_due else gradients)

        if run.directory.path.name == name:
            self.steps.finish = spoilt

    ReadyRun.__init__ = make_spoilt


def fork_ranks(killed: int = 0, step: int = 0) -> None:
    """The further processes of a run are forks too. killed: the rank of the one that SIGKILL ends
    after a step; 0: none."""
    from lora_engine.training import worker
    from lora_engine.training.loop import Steps
    from lora_engine.training.ranks import processes

    class Forked:
        """As much of Popen as `processes` asks for."""

        def __init__(self, command, env, stdin):
            ours, self._code = os.pipe(), None
            self.pid = os.fork()
            if self.pid == 0:
                os.dup2(ours[0], 0)
                os.closerange(3, 256)  # the lock is the first process's alone
                os.environ.update(env)
                os._exit(_as_rank(command[3:]))
            os.close(ours[0])
            self.stdin = os.fdopen(ours[1], "wb")

        def poll(self):
            if self._code is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if ended else None
            return self._code

        def wait(self, timeout=None):
            until = time.monotonic() + (timeout or 60)
            while self.poll() is None:
                if time.monotonic() > until:
                    raise subprocess.TimeoutExpired("rank", timeout)
                time.sleep(0.01)
            return self._code

        def kill(self):
            os.kill(self.pid, signal.SIGKILL)

    def _as_rank(arguments) -> int:
        if f"--rank {killed}" in " ".join(arguments):
            finish = Steps.finish

            def finish_and_die(self, gradients):
                finish(self, gradients)
                if self.progress.step == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            Steps.finish = finish_and_die
        try:
            return worker.main(arguments)
        finally:
            sys.stderr.flush()

    processes.subprocess = SimpleNamespace(
        Popen=Forked, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )


def limit_file_size(size: int) -> None:
    """The kernel refuses to let any file grow beyond `size` bytes, whoever writes it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def limit_memory(extra: int) -> None:
    """The kernel refuses the process more than `extra` bytes beyond what it has mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def fail_sync(name: str) -> None:
    """Every fsync of a file fails once a path with `name` in it has been synced to a full disk."""
    fsync = os.fsync

    def failing(descriptor):
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    os.fsync = failing


def full_log(_: bool) -> None:
    os.dup2(os.open(FULL_DEVICE, os.O_WRONLY), 2)


def serve() -> None:
    sys.modules["bitsandbytes"] = None  # as a worker without quantization does
    import peft  # noqa: F401
    import torch
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.models.llama import modeling_llama  # noqa: F401

    from lora_engine.training import worker

    get_checkpoint_conversion_mapping("llama")  # compiles a thousand patterns, once
    torch.set_num_threads(1)
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_work(worker, request))
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _work(worker, request) -> int:
    directories = request["directories"]
    log = os.open(Path(directories[0]) / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name, arguments in request["faults"].items():
        globals()[name](*arguments if isinstance(arguments, list) else [arguments])
    try:
        return worker.main([*directories, *(["--resume"] if request["resume"] else [])])
    except BaseException:  # noqa: BLE001 - a fork must never return into the loop of its parent
        import traceback

        traceback.print_exc()
        return 70
    finally:
        sys.stderr.flush()


if __name__ == "__main__":
    serve()
