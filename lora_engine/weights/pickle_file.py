"""Pickled torch files (`.pt`, `.pth`, `.bin`), opened only in a child process under limits.

The child loads with `weights_only=True`, bounded in memory and time, in an environment without
secrets; it hands back a listing, or one tensor as an .npy that is checked like any other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.weights import limits
from lora_engine.weights.matrix import ArrayMatrix, Flatten, TensorInfo, to_array
from lora_engine.weights.numpy_file import open_npy

_CHILD = Path(__file__).with_name("pickle_child.py")
_REMEDY = "Save the tensors as safetensors (safetensors.torch.save_file) and try again."


def list_pickle(path: Path) -> tuple[TensorInfo, ...]:
    """Names, shapes and dtypes in a pickled file. Raises EngineError when it holds anything
    but plain tensors."""
    _check_before(path)
    answer = _ask_child(path, [])
    return tuple(
        TensorInfo(str(name), tuple(int(n) for n in shape), str(dtype))
        for name, shape, dtype in answer["tensors"]
    )


def open_pickle(path: Path, name: str, flatten: Flatten | None = None) -> ArrayMatrix:
    """One tensor of a pickled file in memory."""
    _check_before(path)
    with tempfile.TemporaryDirectory(prefix="rankscope-") as folder:
        out = Path(folder) / "tensor.npy"
        _ask_child(path, [name, str(out)])
        source = open_npy(out, flatten, name)
        return ArrayMatrix(to_array(source), name, source.dtype, source.notes)


def _check_before(path: Path) -> None:
    """What can be refused without unpickling anything."""
    if path.name == "training_args.bin":
        raise EngineError(
            "training_args.bin holds Python objects, not weights; it is never opened.",
            "Choose a file with weights.",
        )
    size = path.stat().st_size
    if size > limits.MAX_PICKLE_BYTES:
        raise EngineError(
            f"{path.name} has {size:,} bytes; pickled files up to {limits.MAX_PICKLE_BYTES:,} are "
            "opened.",
            _REMEDY,
        )
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        packed = [e for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED]
        if packed or sum(e.file_size for e in archive.infolist()) > size:
            raise EngineError(
                f"{path.name} is compressed inside; torch never writes such files.", _REMEDY
            )


def _ask_child(path: Path, more: list[str]) -> dict[str, list]:
    bounds = [str(limits.PICKLE_MEMORY_BYTES), str(limits.MAX_MEMORY_ELEMENTS)]
    command = [sys.executable, "-I", str(_CHILD), *bounds, str(path.resolve()), *more]
    environment = {"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            env=environment,
            timeout=limits.PICKLE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refused(path, f"reading it took over {limits.PICKLE_TIMEOUT_S} s") from None
    try:
        answer = json.loads(done.stdout or b"{}")
    except ValueError:
        answer = {}
    if done.returncode == 3:
        raise _refused(path, f"{answer.get('error')} ({answer.get('kind')})")
    if done.returncode != 0:
        raise _refused(path, f"its reader ended with status {done.returncode}")
    return answer


def _refused(path: Path, why: str) -> EngineError:
    return EngineError(f"{path.name} cannot be opened as a pickled torch file: {why}.", _REMEDY)
