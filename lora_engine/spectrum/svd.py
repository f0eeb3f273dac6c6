"""Take a matrix apart, from memory or from a file: what the page and the command line call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.csv_text import csv_text
from lora_engine.errors import EngineError
from lora_engine.files import atomic_file, write_atomically
from lora_engine.language import tr, translatable
from lora_engine.spectrum.band import band_route, is_quicker
from lora_engine.spectrum.decomposition import (
    GRAM_SIDE,
    LARGEST_PLAIN_SIDE,
    Decomposition,
    Summary,
    Truncation,
    check_k,
    choose_method,
)
from lora_engine.spectrum.delta_weight import FactorMatrix, decompose_factors
from lora_engine.spectrum.dense import blocks, gram_route, plain_svd
from lora_engine.spectrum.progress import ReportProgress, WorkMonitor
from lora_engine.spectrum.randomized import randomized_sketch
from lora_engine.spectrum.storage_noise import quantization_noise, rounding_noise
from lora_engine.weights.matrix import Flatten, MatrixSource, array_matrix, describe_shape
from lora_engine.weights.nf4 import PackedMatrix
from lora_engine.weights.reader import open_matrix

MethodChoice = Literal["auto", "svd", "gram", "randomized"]
DEFAULT_VECTORS = 256
DEFAULT_K = 3
SMALLEST_SLOW_SIDE = 512


def decompose(
    matrix: MatrixSource | np.ndarray,
    method: MethodChoice = "auto",
    vectors: int = DEFAULT_VECTORS,
    seed: int = 0,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> Decomposition:
    """The singular values of a matrix and its first `vectors` singular vectors.

    method: auto takes a plain SVD up to a smaller side of 1,024, the Gram route up to 8,192,
    a randomized sketch with its certificate beyond; values alone of a large float32 matrix that
    is not long are taken from a band in place of the Gram matrix; an adapter's update is taken
    apart from its factors, with all its vectors. progress(share, words) is called between
    blocks, and a set `stop` raises Stopped there.
    """
    source = array_matrix(matrix, "matrix") if isinstance(matrix, np.ndarray) else matrix
    monitor = WorkMonitor(progress, stop)
    if method == "auto" and isinstance(source, FactorMatrix):
        return decompose_factors(source)
    chosen = choose_method(source.shape) if method == "auto" else method
    _check_side(source, chosen)
    if chosen == "svd":
        found = plain_svd(source, monitor)
    elif chosen == "gram":
        by_band = method == "auto" and not vectors and is_quicker(source)
        band = band_route(source, monitor) if by_band else None
        found = band or gram_route(source, vectors, monitor)
    elif chosen == "randomized":
        found = randomized_sketch(source, max(1, vectors), seed, monitor)
    else:
        raise EngineError(
            tr(
                "The method is {method}; allowed are auto, svd, gram and randomized.",
                method=f"{str(method)[:40]!r}",
            ),
            tr("Choose one of these."),
        )
    if isinstance(source, PackedMatrix):
        found = replace(found, noise=quantization_noise(source))
    return found


def _check_side(source: MatrixSource, method: str) -> None:
    """Refuse an exact route that would need hours or many GiB."""
    largest = {"svd": LARGEST_PLAIN_SIDE, "gram": GRAM_SIDE}.get(method)
    if largest is not None and min(source.shape) > largest:
        raise EngineError(
            tr(
                "{name} is {shape}; the method {method} is allowed up to a smaller side of "
                "{largest}.",
                name=source.name,
                shape=describe_shape(source.shape),
                method=method,
                largest=f"{largest:,}",
            ),
            tr("Leave the method to auto."),
        )


@dataclass(frozen=True, eq=False)
class SvdReport:
    """The answer of `svd FILE --k K`: the spectrum of a matrix and its rank-k approximation."""

    name: str
    decomposition: Decomposition
    truncation: Truncation
    summary: Summary
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The keys of the contract, then more."""
        cut, summary = self.truncation, self.summary
        noise = summary.noise
        return {
            "name": self.name,
            "shape": list(self.decomposition.shape),
            "singular_values": self.decomposition.singular_values.tolist(),
            "rank": summary.rank,
            "all_values_known": summary.complete,
            "k": cut.k,
            "energy": cut.energy,
            "frobenius_error": cut.frobenius_error,
            "relative_error": cut.relative_error,
            "spectral_error": cut.spectral_error,
            "method": self.decomposition.method,
            "certificate": cut.certificate.to_json(),
            "frobenius_norm": self.decomposition.frobenius_norm,
            "stable_rank": summary.stable_rank,
            "effective_rank": summary.effective_rank,
            "k90": summary.k90,
            "k95": summary.k95,
            "k99": summary.k99,
            "noise": dict(vars(noise)) if noise else None,
            "parameters": cut.parameters,
            "full_parameters": cut.full_parameters,
            "notes": list(self.notes),
        }


def report(source: MatrixSource, decomposition: Decomposition, k: int) -> SvdReport:
    """Put a decomposition and a choice of k into words and numbers."""
    return SvdReport(
        name=source.name,
        decomposition=decomposition,
        truncation=decomposition.truncate(k),
        summary=decomposition.summary(),
        notes=(*source.notes, *_rounding_note(source, decomposition)),
    )


def _rounding_note(source: MatrixSource, decomposition: Decomposition) -> tuple[str, ...]:
    """Says how many of the values counted as rank lie within the rounding of the stored numbers."""
    noise = rounding_noise([source])
    values = decomposition.singular_values
    rank = decomposition.summary().rank
    above = int(np.count_nonzero(values > noise.edge)) if noise else rank
    if noise is None or above >= rank:
        return ()
    said = tr(
        "Stored in {dtype}: rounding alone makes singular values up to {edge}; {above} of the "
        "{rank} counted as rank lie above that.",
        dtype=source.dtype,
        edge=f"{noise.edge:.3g}",
        above=f"{above:,}",
        rank=f"{rank:,}",
    )
    return (said,)


def decompose_file(
    path: str | Path,
    tensor: str | None = None,
    k: int | None = None,
    flatten: Flatten | None = None,
    method: MethodChoice = "auto",
    output: str | Path | None = None,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> SvdReport:
    """Open one matrix of a file, decompose it and report on rank k; `svd FILE` in one call.

    k: at most the smaller side; None is `default_k`.
    output: where to write the rank-k approximation as .npy, in the matrix's own shape.
    Raises EngineError for input that is not a sound real matrix, a k out of range, and an
    output that exists.
    """
    if output is not None:
        _check_output(Path(output))
    source = open_matrix(path, tensor, flatten)
    k = default_k(source.shape) if k is None else k
    check_k(k, min(source.shape), source.shape)
    vectors = k if output is not None else 0
    if method == "randomized" or (method == "auto" and choose_method(source.shape) == "randomized"):
        vectors = max(k, DEFAULT_VECTORS)
    found = decompose(source, method, vectors, progress=progress, stop=stop)
    answer = report(source, found, k)
    if output is not None:
        write_rank_k(found, k, output)
    return answer


def default_k(shape: tuple[int, int]) -> int:
    """How many directions are kept where nobody says: 3, or the smaller side below that."""
    return min(DEFAULT_K, *shape)


def write_rank_k(decomposition: Decomposition, k: int, path: str | Path) -> None:
    """Write the rank-k approximation as a float32 .npy (float64 for float64), block by block.

    Raises EngineError when the path is no .npy or exists already.
    """
    path = Path(path)
    _check_output(path)
    k = min(k, decomposition.left.shape[1])  # directions below the floor add nothing
    exact = decomposition.eps < 1e-10
    dtype = "<f8" if exact else "<f4"
    header = {
        "descr": dtype,
        "fortran_order": False,
        "shape": decomposition.shape,
    }
    with atomic_file(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start, stop in blocks(*decomposition.shape):
            block = (
                decomposition.rank_k_rows(k, start, stop)
                if k
                else _zeros(decomposition, stop - start)
            )
            file.write(block.astype(dtype).tobytes())


def write_factors(decomposition: Decomposition, k: int, path: str | Path) -> None:
    """Write U (rows, k), singular_values (k,) and V (columns, k) as an .npz.

    Raises EngineError when fewer than k vectors are held, or the path is no .npz or exists.
    """
    path = Path(path)
    check_k(k, decomposition.left.shape[1], decomposition.shape)
    _check_output(path, ".npz")
    with atomic_file(path) as file:
        np.savez_compressed(
            file,
            U=decomposition.left[:, :k],
            singular_values=decomposition.singular_values[:k],
            V=decomposition.right[:, :k],
        )


def write_table(decomposition: Decomposition, path: str | Path) -> None:
    """Write one CSV line for each k: its singular value, energy and Frobenius error at k, and
    between what the true singular value lies.

    Energy and error are the certain bounds (lower and upper) of a randomized sketch.
    """
    path = Path(path)
    _check_output(path, ".csv")
    columns = (
        decomposition.singular_values,
        decomposition.energy,
        decomposition.errors[1:],
        *decomposition.value_band(),
    )
    names = ("k", "singular_value", "energy", "frobenius_error", "lowest_value", "highest_value")
    lines: list[tuple[object, ...]] = [names]
    for k, values in enumerate(zip(*columns, strict=True), start=1):
        lines.append((k, *map(float, values)))
    write_atomically(path, csv_text(lines).encode())


def _zeros(decomposition: Decomposition, count: int) -> np.ndarray:
    return np.zeros((count, decomposition.shape[1]))


def _check_output(path: Path, suffix: str = ".npy") -> None:
    if path.suffix != suffix:
        raise EngineError(
            tr(
                "The output is named {name}; it is written as {suffix}.",
                name=path.name,
                suffix=suffix,
            ),
            tr("Name it with {suffix}.", suffix=suffix),
        )
    if path.exists():
        problem = tr("The output {path} exists already.", path=path)
        raise EngineError(problem, tr("Choose another name."))
    if not path.parent.is_dir():
        problem = tr("The output {path} has no folder to lie in.", path=path)
        raise EngineError(problem, tr("Choose another name."))


def takes_a_while(source: MatrixSource) -> bool:
    """Whether a person waits for `decompose` long enough to be shown something meanwhile."""
    return min(source.shape) >= SMALLEST_SLOW_SIDE and not isinstance(source, FactorMatrix)


def describe_method(shape: tuple[int, int]) -> str:
    """Which route a matrix of this shape will take, in words."""
    words = {
        "svd": translatable("{shape}: a plain SVD, exact."),
        "gram": translatable("{shape}: the Gram route over blocks, exact above a floor."),
        "randomized": translatable("{shape}: a randomized sketch with its certificate."),
    }
    return tr(words[choose_method(shape)], shape=describe_shape(shape))
