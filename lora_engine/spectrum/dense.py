"""The two exact routes: a plain SVD, and eigenvalues of the Gram matrix over blocks.

The Gram route never holds W: it adds up G = W W^T in float64 over blocks of columns, widened
one at a time, and takes s = sqrt(eigenvalues). Squaring costs half of the digits: each s^2 is off
by up to about n eps s_1^2 = floor^2 (of a very long matrix by sqrt(length) eps s_1^2, if that is
more). So a value below the floor sqrt(n eps) s_1 (1e-6 s_1 at n = 4096) is not resolved, and one
above it has a relative error of up to about (floor / s)^2 / 2: 1e-2 at 7 times the floor, 1e-10 at
1e5 times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.spectrum.tridiagonal import tridiagonalize
from lora_engine.weights.matrix import MatrixSource, Transposed, to_array

BLOCK_ELEMENTS = 2**22
"""Numbers in one block (32 MiB in float64)."""

STRIP_ELEMENTS = 2**18
"""Numbers in one strip (2 MiB in float64), which stays in the processor's caches."""

SMALL_SIDE = 512
"""Up to here importing torch would cost more than its faster products and LAPACK gain."""

STRIPS = 8
"""Strips in which the upper triangle of a Gram matrix is added up."""

EPS64 = float(np.finfo(np.float64).eps)
SMALLEST, LARGEST = 1e-120, 1e120


def stored_eps(dtype: str) -> float:
    """Rounding unit of the numbers as stored: float64 and integers, else float32's.

    Half precision and 8-bit floats widen to float32 without loss, so they count as float32.
    """
    wide = dtype in ("float64", ">f8", "text") or dtype.startswith(("int", "uint"))
    return EPS64 if wide else float(np.finfo(np.float32).eps)


def blocks(length: int, width: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks along `length`, each with about BLOCK_ELEMENTS numbers."""
    step = max(1, BLOCK_ELEMENTS // max(1, width))
    for start in range(0, length, step):
        yield start, min(start + step, length)


def strips(
    tall: MatrixSource, monitor: WorkMonitor, words: str
) -> Iterator[tuple[int, int, np.ndarray]]:
    """All rows in float64 as (start, stop, strip): read in blocks, widened in the caches."""
    rows, columns = tall.shape
    step = max(1, STRIP_ELEMENTS // max(1, columns))
    for first, last in blocks(rows, columns):
        monitor.step(first / rows, words)
        block = tall.rows(first, last)
        for start in range(0, last - first, step):
            strip = widen(tall, block[start : start + step]).astype(np.float64, copy=False)
            yield first + start, first + start + len(strip), strip


def widen(source: MatrixSource, block: np.ndarray) -> np.ndarray:
    """A block in float64. Raises EngineError for numbers whose squares leave float64's range."""
    if block.dtype == np.float32:
        return block.astype(np.float64)
    size = np.abs(block)
    largest = float(size.max(initial=0.0))
    if largest > LARGEST or 0 < largest < SMALLEST:
        raise EngineError(
            tr(
                "{name} holds {largest} as its largest number in a block; between {smallest} "
                "and {largest_2} is allowed, because the numbers are squared.",
                name=source.name,
                largest=f"{largest:.3g}",
                smallest=f"{SMALLEST:g}",
                largest_2=f"{LARGEST:g}",
            ),
            tr("Scale the matrix to numbers near 1 first."),
        )
    return block


def plain_svd(source: MatrixSource, monitor: WorkMonitor = SILENT) -> Decomposition:
    """LAPACK's SVD in float64 of the whole matrix, all vectors kept."""
    monitor.step(0.0, tr("reading the matrix"))
    values = widen(source, to_array(source))
    monitor.step(0.1, tr("decomposing"))
    left, singular_values, right = _svd(values)
    monitor.step(1.0, tr("done"))
    return Decomposition(
        shape=source.shape,
        singular_values=singular_values,
        left=left,
        right=right.T,
        total_squared=float(np.square(singular_values).sum()),
        method="svd",
        eps=stored_eps(source.dtype),
        value_floor=EPS64 * max(source.shape) * float(singular_values[0]),
    )


def gram_route(
    source: MatrixSource, vectors: int = 0, monitor: WorkMonitor = SILENT
) -> Decomposition:
    """Singular values by the Gram matrix of the smaller side, and the first `vectors` vectors.

    Memory: one square float64 matrix of the smaller side (two where no vectors are wanted),
    `vectors` columns of both sides, and one block.
    """
    wide = source.shape[0] <= source.shape[1]
    small = source if wide else Transposed(source)  # (n, large), n the smaller side
    gram, total = gram_matrix(small, monitor.part(0.0, 0.3))
    eigenvalues, first_vectors = _eigen(gram, vectors > 0, monitor.part(0.3, 0.8))
    del gram
    singular_values = np.sqrt(np.maximum(eigenvalues, 0.0))
    floor = gram_floor(small.shape) * float(singular_values[0])
    kept = min(vectors, int(np.count_nonzero(singular_values > floor)))
    near = first_vectors(kept)
    del first_vectors
    far = np.empty((small.shape[1], kept))
    if kept:
        for start, stop in blocks(small.shape[1], small.shape[0]):
            monitor.step(0.8 + 0.2 * start / small.shape[1], tr("singular vectors"))
            far[start:stop] = small.columns(start, stop).T @ near / singular_values[:kept]
    monitor.step(1.0, tr("done"))
    return Decomposition(
        shape=source.shape,
        singular_values=singular_values,
        left=near if wide else far,
        right=far if wide else near,
        total_squared=total,
        method="gram",
        eps=stored_eps(source.dtype),
        value_floor=floor,
    )


def gram_floor(shape: tuple[int, int]) -> float:
    """What the Gram route resolves, beside the first singular value."""
    return math.sqrt(EPS64 * (max(min(shape), math.sqrt(max(shape))) + 8))


def gram_matrix(small: MatrixSource, monitor: WorkMonitor = SILENT) -> tuple[np.ndarray, float]:
    """G = W W^T in float64 over column blocks of W (n, large), and ||W||_F^2 = trace G.

    Only the upper triangle of G is sure to be there: all that `symmetric_eigen` reads.
    """
    n, large = small.shape
    gram = np.zeros((n, n))
    for start, stop in blocks(large, n):
        monitor.step(start / large, tr("reading the matrix in blocks"))
        block = widen(small, small.columns(start, stop))  # (n, stop - start)
        _add_product(gram, block)
    return gram, float(np.trace(gram))


def _add_product(gram: np.ndarray, block: np.ndarray) -> None:
    """gram += block block^T in place, the upper triangle in strips of rows: 9/16 of the product.

    torch's product adds to what is there, NumPy's does not.
    """
    if gram.shape[0] <= SMALL_SIDE:
        gram += block @ block.T
        return
    import torch

    total, part = torch.from_numpy(gram), torch.from_numpy(block)
    width = math.ceil(len(gram) / STRIPS)
    for start in range(0, len(gram), width):
        strip = total[start : start + width, start:]
        torch.addmm(strip, part[start : start + width], part[start:].T, out=strip)


def _eigen(
    gram: np.ndarray, with_vectors: bool, monitor: WorkMonitor
) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
    """All eigenvalues, descending, and what gives the first so many eigenvectors as columns.

    Overwrites `gram`. Where vectors are wanted it is reduced in place; values alone are quicker
    through torch, whose LAPACK reduces in two stages.
    """
    side = gram.shape[0]
    monitor.step(0.0, tr("eigenvalues of {side} x {side}", side=f"{side:,}"))
    if with_vectors and side > SMALL_SIDE:
        reduced = tridiagonalize(gram, monitor)
        return reduced.values(), reduced.vectors
    values, basis = symmetric_eigen(gram, with_vectors)
    return values, lambda count: basis[:, :count].copy()


def symmetric_eigen(gram: np.ndarray, with_vectors: bool) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues in descending order and eigenvectors as columns (none when not wanted), from the
    upper triangle.

    torch's LAPACK takes a quarter of NumPy's time on large matrices.
    """
    n = gram.shape[0]
    if n <= SMALL_SIDE:
        values, basis = np.linalg.eigh(gram, UPLO="U")
    else:
        import torch

        if with_vectors:
            pair = torch.linalg.eigh(torch.from_numpy(gram), UPLO="U")
            values, basis = pair[0].numpy(), pair[1].numpy()
        else:
            values = torch.linalg.eigvalsh(torch.from_numpy(gram), UPLO="U").numpy()
            basis = np.empty((n, 0))
    return values[::-1].copy(), basis[:, ::-1]


def _svd(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if min(values.shape) <= SMALL_SIDE:
        return np.linalg.svd(values, full_matrices=False)
    import torch

    parts = torch.linalg.svd(torch.from_numpy(values), full_matrices=False)
    return tuple(part.numpy() for part in parts)
