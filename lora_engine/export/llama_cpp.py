"""llama.cpp's own converters, run in a child process under a limit of time.

The folder is the person's (LLAMA_CPP_DIR). The child gets an allow-list of the environment, so no
token, and paths as its arguments; hubs are switched off. What is in the files is not known here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from lora_engine.cancellation import StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr

CONVERT_ADAPTER = "convert_lora_to_gguf.py"
CONVERT_MODEL = "convert_hf_to_gguf.py"
LIMIT_S = 3600.0
LOOK_EVERY_S = 0.2
TAIL_BYTES = 2000
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "VIRTUAL_ENV")


def convert_adapter(
    llama_cpp: Path, portable: Path, base: Path, file: Path, stop: StopSignal
) -> None:
    """`file` from a portable adapter, in float32. Raises EngineError as `_run`; Stopped."""
    arguments = ["--outfile", str(file), "--outtype", "f32", "--base", str(base), str(portable)]
    _run(llama_cpp, CONVERT_ADAPTER, arguments, file, stop)


def convert_model(llama_cpp: Path, model: Path, file: Path, stop: StopSignal) -> None:
    """`file` from a model's folder, in the type of its weights. Raises EngineError as `_run`;
    Stopped."""
    arguments = ["--outfile", str(file), "--outtype", "auto", str(model)]
    _run(llama_cpp, CONVERT_MODEL, arguments, file, stop)


def _run(
    llama_cpp: Path, script: str, arguments: Sequence[str], file: Path, stop: StopSignal
) -> None:
    """Run one converter to its end.

    Raises EngineError for a folder without it, a converter that fails (with the end of what it
    said), that takes too long, or that writes nothing; Stopped.
    """
    program = llama_cpp / script
    if not program.is_file():
        raise EngineError(
            tr(
                "LLAMA_CPP_DIR is {llama_cpp}, and there is no {script} in it.",
                llama_cpp=llama_cpp,
                script=script,
            ),
            tr("Set it to a folder with llama.cpp's source, or unset it."),
        )
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            cwd=llama_cpp,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(child, script, stop)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if child.returncode != 0:
            raise EngineError(
                tr("llama.cpp's {script} failed:\n{tail}", script=script, tail=_tail(said)),
                tr(
                    "Read its last lines. Without LLAMA_CPP_DIR the bases listed in "
                    "docs/export.md are converted here."
                ),
            )
    if not file.is_file():
        raise EngineError(
            tr(
                "llama.cpp's {script} ended well and wrote no {name}.",
                script=script,
                name=file.name,
            ),
            tr("Check that LLAMA_CPP_DIR holds an unchanged copy of llama.cpp."),
        )


def _wait(child: subprocess.Popen, script: str, stop: StopSignal) -> None:
    until = time.monotonic() + LIMIT_S
    while True:
        try:
            child.wait(LOOK_EVERY_S)
            return
        except subprocess.TimeoutExpired:
            stop.raise_if_set(tr("llama.cpp's {script} ran", script=script))
        if time.monotonic() > until:
            raise EngineError(
                tr(
                    "llama.cpp's {script} took over {limit_s} s and was ended.",
                    script=script,
                    limit_s=f"{LIMIT_S:g}",
                ),
                tr("Convert by hand where it takes longer."),
            )


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def _tail(said: BinaryIO) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - TAIL_BYTES))
    return said.read().decode("utf-8", "replace").strip()
