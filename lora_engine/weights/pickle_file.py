"""Pickled torch files (`.pt`, `.pth`, `.bin`), opened only in a guarded process.

It loads with `weights_only=True` and hands back a listing, or one tensor as an .npy that is checked
like any other.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.guard import OutOfBounds, run_guarded
from lora_engine.guarded import torch_pickle
from lora_engine.language import tr, translatable
from lora_engine.weights import limits
from lora_engine.weights.matrix import ArrayMatrix, Flatten, TensorInfo, to_array
from lora_engine.weights.numpy_file import open_npy

_REMEDY = translatable(
    "Save the tensors as safetensors (safetensors.torch.save_file) and try again."
)
_SAVE_TENSORS = translatable(
    "In the program that made it, save the tensors alone: safetensors.torch.save_file("
    "model.state_dict(), ...) or torch.save(model.state_dict(), ...)."
)
_WHOLE_OBJECT = re.compile(r"(?!torch\.(_utils|storage|serialization)\b)\w+(\.\w+)*\.[A-Z]\w*")


def list_pickle(path: Path) -> tuple[TensorInfo, ...]:
    """Names, shapes and dtypes in a pickled file. Raises EngineError when it holds anything
    but plain tensors."""
    _check_before(path)
    answer = _ask(path, torch_pickle.listed)
    return tuple(
        TensorInfo(str(name), tuple(int(n) for n in shape), str(dtype))
        for name, shape, dtype in answer["tensors"]
    )


def open_pickle(path: Path, name: str, flatten: Flatten | None = None) -> ArrayMatrix:
    """One tensor of a pickled file in memory."""
    _check_before(path)
    with tempfile.TemporaryDirectory(prefix="rankscope-") as folder:
        out = Path(folder) / "tensor.npy"
        _ask(path, torch_pickle.written, name, str(out), limits.MAX_MEMORY_ELEMENTS)
        source = open_npy(out, flatten, name)
        return ArrayMatrix(to_array(source), name, source.dtype, source.notes)


def _check_before(path: Path) -> None:
    """What can be refused without unpickling anything."""
    if path.name == "training_args.bin":
        raise EngineError(
            tr("training_args.bin holds Python objects, not weights; it is never opened."),
            tr("Choose a file with weights."),
        )
    size = path.stat().st_size
    if size > limits.MAX_PICKLE_BYTES:
        raise EngineError(
            tr(
                "{name} has {size} bytes; pickled files up to {max_pickle_bytes} are opened.",
                name=path.name,
                size=f"{size:,}",
                max_pickle_bytes=f"{limits.MAX_PICKLE_BYTES:,}",
            ),
            tr(_REMEDY),
        )
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()):
            raise EngineError(
                tr(
                    "{name} is a TorchScript program (torch.jit.save), not a file of "
                    "tensors; no code that a file asks for is ever run.",
                    name=path.name,
                ),
                tr(_SAVE_TENSORS),
            )
        packed = [e for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED]
        if packed or sum(e.file_size for e in archive.infolist()) > size:
            raise EngineError(
                tr("{name} is compressed inside; torch never writes such files.", name=path.name),
                tr(_REMEDY),
            )


def _ask(path: Path, function: Callable[..., Any], *more: object) -> dict[str, Any]:
    """What the guarded function answers. What it may take grows with the file."""
    size = path.stat().st_size
    memory = limits.PICKLE_MEMORY_BYTES + limits.PICKLE_MEMORY_TIMES * size
    try:
        answer: dict[str, Any] = run_guarded(
            function,
            [str(path.resolve()), *more],
            seconds=limits.PICKLE_SECONDS + size / limits.PICKLE_BYTES_A_SECOND,
            memory_bytes=memory,
            output_bytes=limits.MAX_LISTING_BYTES,
            libraries=["torch"],
        )
    except OutOfBounds as error:
        raise _refused(path, str(error)) from None
    if "error" in answer:
        raise _in_words(path, answer["error"], answer.get("detail"), memory)
    return answer


def _in_words(path: Path, kind: object, detail: object, memory: int) -> EngineError:
    """The refusal for the person."""
    if kind == "objects" and isinstance(detail, list):
        names = [str(name) for name in detail]
        whole = [name for name in names if _WHOLE_OBJECT.fullmatch(name)]
        shown = ", ".join((whole or names)[:3]) + (", ..." if len(whole or names) > 3 else "")
        what = tr("whole Python objects") if whole else tr("Python objects")
        remedy = _SAVE_TENSORS
        if all(name.startswith(("numpy.", "_codecs.")) for name in names):
            what = tr("pickled NumPy arrays")
            remedy = translatable(
                "Save the arrays with numpy.save or numpy.savez, or as torch tensors."
            )
        return EngineError(
            tr(
                "{name} holds {what} ({shown}), not tensors alone; no code that a file asks "
                "for is ever run.",
                name=path.name,
                what=what,
                shown=shown,
            ),
            tr(remedy),
        )
    if kind == "memory":
        allowed = f"{memory // limits.MIB:,}"
        return _refused(
            path, tr("reading it takes more than the {allowed} MiB allowed", allowed=allowed)
        )
    if kind == "refused":
        return _refused(path, str(detail))
    return _refused(path, tr("it is damaged, or torch.save did not write it"))


def _refused(path: Path, why: str) -> EngineError:
    return EngineError(
        tr("{name} cannot be opened as a pickled torch file: {why}.", name=path.name, why=why),
        tr(_REMEDY),
    )
