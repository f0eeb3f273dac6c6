"""The one way in for a matrix: list what a file or folder holds, open one of it.

Content decides what a file is. Nothing is loaded to list it; a matrix in a safetensors or
.npy file stays there and is read in blocks.
"""

from __future__ import annotations

from pathlib import Path

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.checkpoint import open_checkpoint
from lora_engine.weights.csv_file import open_csv, parse_csv
from lora_engine.weights.file_kinds import Kind, detect
from lora_engine.weights.matrix import ArrayMatrix, Flatten, MatrixSource, TensorInfo
from lora_engine.weights.numpy_file import list_npy, list_npz, open_npy, open_npz
from lora_engine.weights.pickle_file import list_pickle, open_pickle
from lora_engine.weights.picture import list_picture, open_picture


def list_tensors(path: str | Path) -> tuple[TensorInfo, ...]:
    """Name, shape and dtype of everything in a file or model folder, without its numbers.

    Raises EngineError for a file that is not sound, NotFound when there is none.
    """
    path = Path(path)
    if path.is_dir() or path.name.endswith(".index.json"):
        return open_checkpoint(path).listing()
    kind = detect(path)
    if kind is Kind.SAFETENSORS:
        return open_checkpoint(path).listing()
    if kind is Kind.NPY:
        return list_npy(path)
    if kind is Kind.NPZ:
        return list_npz(path)
    if kind is Kind.PICKLE:
        return list_pickle(path)
    if kind is Kind.PICTURE:
        return list_picture(path)
    matrix = open_csv(path)
    return (TensorInfo(path.stem, matrix.shape, matrix.dtype),)


def open_matrix(
    path: str | Path, tensor: str | None = None, flatten: Flatten | None = None
) -> MatrixSource:
    """Open one matrix of a file or model folder.

    tensor: its name; may be left out where the file holds only one matrix, or a picture (grey).
    flatten: how a tensor of three or more dimensions becomes a matrix.
    Raises EngineError saying what was found and what is allowed.
    """
    path = Path(path)
    if path.is_dir() or path.name.endswith(".index.json"):
        return open_checkpoint(path).matrix(_choose(path, tensor), flatten)
    kind = detect(path)
    if kind is Kind.PICTURE:
        return open_picture(path, tensor or "grey")
    if kind in (Kind.NPY, Kind.TEXT):
        if tensor not in (None, path.stem):
            raise EngineError(
                tr(
                    "{name} holds one matrix; it has none called {tensor}.",
                    name=path.name,
                    tensor=f"{tensor[:100]!r}",
                ),
                tr("Leave the tensor's name out."),
            )
        return open_npy(path, flatten) if kind is Kind.NPY else open_csv(path)
    name = _choose(path, tensor)
    if kind is Kind.SAFETENSORS:
        return open_checkpoint(path).matrix(name, flatten)
    if kind is Kind.NPZ:
        return open_npz(path, name, flatten)
    return open_pickle(path, name, flatten)


def parse_matrix(text: str) -> ArrayMatrix:
    """A matrix typed or pasted as text: one line a row, columns parted by comma, ; tab or space."""
    return parse_csv(text, tr("The text"))


def _choose(path: Path, tensor: str | None) -> str:
    """The named tensor, or the only one that is a matrix."""
    if tensor is not None:
        return tensor
    found = list_tensors(path)
    matrices = [info.name for info in found if len(info.shape) >= 2]
    names = {info.name for info in found}
    if {"format", "shape", "data"} <= names or {"data", "indices", "indptr"} <= names:
        raise EngineError(
            tr("{name} holds a sparse matrix (scipy.sparse.save_npz).", name=path.name),
            tr("Save it dense, with numpy.save(matrix.toarray())."),
        )
    if len(matrices) == 1:
        return matrices[0]
    if not matrices:
        shapes = ", ".join(f"{i.name} {list(i.shape)}" for i in found[:5]) or tr("no tensors")
        raise EngineError(
            tr("{name} holds no matrix; it holds {shapes}.", name=path.name, shapes=shapes),
            tr("Give a file with a tensor of two or more dimensions."),
        )
    shown = ", ".join(matrices[:8]) + (" ..." if len(matrices) > 8 else "")
    raise EngineError(
        tr(
            "{name} holds {count} matrices and none was named.", name=path.name, count=len(matrices)
        ),
        tr("Name the tensor: {shown}.", shown=shown),
    )
