"""The named endpoints `/svd` and `/spectrum`, for gradio_client.

Their answers have the keys of `python -m lora_engine svd --json` and `spectrum --json`. Only what
the caller sends or uploads, and what the dashboard knows by name, is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import (
    compare_checkpoints,
    decompose,
    default_k,
    describe_adapter,
    report,
)
from lora_engine.weights import ArrayMatrix, MatrixSource, array_matrix
from pages.spectrum.matrix_source import START_SAMPLE, MatrixChoice, model_folder, open_choice


def svd_endpoint(engine: Engine) -> Callable:
    def svd(
        matrix: list[list[float]] | None = None,
        k: int | None = None,
        file: dict | None = None,
        sample: str = "",
        model: str = "",
        tensor: str = "",
        flatten: str = "",
    ) -> dict:
        """Singular values of a matrix, and what is lost when only k directions are kept.

        Give one of: matrix, a list of rows; file, an upload (handle_file in gradio_client);
        sample, the name of a sample; model, the name of a local model, with tensor. k left out is
        3, or the smaller side below that.
        """
        source = _Given(matrix, file, sample, model, tensor, flatten).source(engine)
        k = default_k(source.shape) if k is None else k
        found = decompose(source, vectors=max(1, min(k, min(source.shape))))
        return report(source, found, k).to_json()

    return svd


def spectrum_endpoint(engine: Engine) -> Callable:
    def spectrum(adapter: str = "", base: str = "", tuned: str = "") -> dict:
        """The spectrum of every module of an adapter (by run, name or folder), beside a base
        model where one is named; or of tuned minus base."""
        if tuned and base and not adapter:
            before, after = model_folder(engine, base), model_folder(engine, tuned)
            return compare_checkpoints(before, after).to_json()
        if not adapter or tuned:
            raise EngineError(
                tr("Either an adapter, or base and tuned, is needed."), tr("Give one of the two.")
            )
        weights = model_folder(engine, base) if base else None
        return describe_adapter(engine.adapters.get(adapter).path, weights).to_json()

    return spectrum


@dataclass(frozen=True)
class _Given:
    """The matrix as the caller of `/svd` gave it."""

    matrix: list[list[float]] | None
    file: dict | None
    sample: str
    model: str
    tensor: str
    flatten: str

    def source(self, engine: Engine) -> MatrixSource:
        """The one matrix that is meant. Raises EngineError for two, or for an unsound one."""
        ways = {"matrix": self.matrix, "file": self.file, "sample": self.sample}
        given = [name for name, value in {**ways, "model": self.model}.items() if value]
        if len(given) > 1:
            raise EngineError(
                tr("More than one is given: {names}.", names=", ".join(given)),
                tr("Give one of them."),
            )
        if self.file:
            path = _uploaded(self.file)
            return open_choice(engine, MatrixChoice("file", path, self.tensor, self.flatten))
        if self.model:
            choice = MatrixChoice("model", self.model, self.tensor, self.flatten)
            return open_choice(engine, choice)
        if self.matrix is not None and not self.sample:
            return _typed(self.matrix)
        return open_choice(engine, MatrixChoice("sample", self.sample or START_SAMPLE))


def _typed(rows: list[list[float]]) -> ArrayMatrix:
    lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, bool)
        for row in rows
        if isinstance(row, list)
        for value in row
    )
    if len(lengths) != 1 or -1 in lengths or not numbers:
        raise EngineError(
            tr("The matrix is not a list of rows of numbers, all of one length."),
            tr("Send it as in [[1, 2], [3, 4]]."),
        )
    return array_matrix(np.array(rows, dtype=np.float64), "matrix")


def _uploaded(file: dict) -> str:
    """The path of an upload; no other file of this machine can be named."""
    path, folder = Path(str(file.get("path", ""))).resolve(), Path(get_upload_folder()).resolve()
    if folder not in path.parents or not path.is_file():
        raise EngineError(
            tr("The file is not an upload."), tr("Send it with gradio_client's handle_file.")
        )
    return str(path)
