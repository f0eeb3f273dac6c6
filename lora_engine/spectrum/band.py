"""Singular values alone, in float32 where it is quick and in float64 where it counts.

    U^T W V = B + E,   B upper with BAND diagonals beside the first

W is reduced by reflections of BAND columns and rows at a time, in float32 (`band_reduction.py`).
The values of B come from B B^T in float64. U and V are orthogonal to the rounding of float64, so
everything that float32 lost is in E, and by Weyl no value of W is further than ||E||_2 from one of
B. `band_loss.py` reads W again to bound ||E||_2: a bound found afterwards for this matrix, which
fails with a stated probability, and not a guarantee for any matrix.

At 4096 this takes half of the Gram route's time. It gives no vectors.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lora_engine.language import tr
from lora_engine.spectrum.band_loss import bound_of_loss, random_vectors
from lora_engine.spectrum.band_reduction import Reduced, reduce_to_band
from lora_engine.spectrum.decomposition import Decomposition
from lora_engine.spectrum.dense import EPS64, gram_floor, stored_eps, strips
from lora_engine.spectrum.lapack import call, has, one_blas_thread
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights.matrix import MatrixSource, Transposed

QUICK_SIDE, LONGEST = 1536, 3.0
"""The band is quicker up to a longer side of shorter^2 / QUICK_SIDE, measured on one thread: at
4096 up to 2.7 times as long as wide, at 2048 up to 1.3 times, at 1200 never. Beyond LONGEST times
it would hold too much."""


def is_quicker(source: MatrixSource) -> bool:
    """Whether this route takes less time than the Gram route, and float32 is enough."""
    shorter, longer = sorted(source.shape)
    return (
        stored_eps(source.dtype) != EPS64 and longer <= min(LONGEST, shorter / QUICK_SIDE) * shorter
    )


def band_route(source: MatrixSource, monitor: WorkMonitor = SILENT) -> Decomposition | None:
    """All singular values of a float32 matrix; None of nothing but zeros.

    Memory: the matrix twice in float32, and one block.
    """
    tall = source if source.shape[0] >= source.shape[1] else Transposed(source)
    tests = random_vectors(tall.shape[1])
    matrix, scale, total, products = _whole(tall, tests, monitor.part(0.0, 0.05))
    if not scale:
        return None
    with one_blas_thread():
        reduced = reduce_to_band(matrix, products, tests, monitor.part(0.05, 0.75))
        del matrix
        once = products - reduced.times(tests)
        values, lost = _values_and_loss(tall, reduced, scale, once, monitor.part(0.75, 1.0))
    monitor.step(1.0, tr("done"))
    return Decomposition(
        shape=source.shape,
        singular_values=values * scale,
        left=np.empty((source.shape[0], 0)),
        right=np.empty((source.shape[1], 0)),
        total_squared=total,
        method="band",
        eps=stored_eps(source.dtype),
        value_floor=(gram_floor(source.shape) * float(values[0]) + lost) * scale,
        value_shift=lost * scale,
    )


def _whole(
    tall: MatrixSource, tests: np.ndarray, monitor: WorkMonitor
) -> tuple[np.ndarray, float, float, np.ndarray]:
    """The matrix in float32 divided by a power of two, that power, ||W||_F^2, and the products of
    the divided matrix with `tests` (n, p) in float64."""
    matrix, total, largest = np.empty(tall.shape, np.float32), 0.0, 0.0
    products = np.empty((tall.shape[0], tests.shape[1]))
    for start, stop, strip in strips(tall, monitor, tr("reading the matrix in blocks")):
        numbers = strip.ravel(order="K")
        total += float(numbers @ numbers)
        largest = max(largest, float(strip.max()), -float(strip.min()))
        products[start:stop] = strip @ tests
        matrix[start:stop] = strip
    scale = 2.0 ** math.floor(math.log2(largest)) if largest else 0.0
    if scale:
        matrix /= np.float32(scale)
        products /= scale
    return matrix, scale, total, products


def _values_and_loss(
    tall: MatrixSource, reduced: Reduced, scale: float, once: np.ndarray, monitor: WorkMonitor
) -> tuple[np.ndarray, float]:
    """The values of B, and how far any value of W / scale may be from them. once: E's products.

    LAPACK takes the band apart on one thread, however many there are; so both are done at once.
    The rounding of float64 in U, V and the products is added: some eps of the first value for each
    of rows and columns.
    """
    with ThreadPoolExecutor(1) as beside:
        found = beside.submit(_values_of_band, reduced.rows)
        lost = bound_of_loss(tall, reduced, scale, once, monitor)
        values = found.result()
    return values, lost + sum(tall.shape) * EPS64 * float(values[0])


def _values_of_band(rows: np.ndarray) -> np.ndarray:
    """Singular values of B, descending, from the band B B^T."""
    n, width = rows.shape
    product = np.zeros((width, n), order="F")  # its upper half as LAPACK holds it
    for apart in range(width):
        pairs = rows[apart:, : width - apart] * rows[: n - apart, apart:]
        product[width - 1 - apart, apart:] = pairs.sum(axis=1)
    return np.sqrt(np.maximum(_eigenvalues(product)[::-1], 0.0))


def _eigenvalues(band: np.ndarray) -> np.ndarray:
    """Ascending, of a symmetric band in LAPACK's form (width, n), its upper half.

    The routine of two stages turns blocks of the band that fit the caches: it takes a quarter
    less time.
    """
    width, n = band.shape
    routine = "dsbevd_2stage" if has("dsbevd_2stage") else "dsbevd"
    values, failed, whole = np.empty(n), np.zeros(1, np.int32), np.zeros(1, np.int32)

    def run(work: np.ndarray, size: int) -> None:
        call(routine, b"N", b"U", n, width - 1, band, width, values, np.empty(1), 1,
             work, size, whole, 1, failed)  # fmt: skip
        if failed[0]:
            raise np.linalg.LinAlgError(f"{routine}: {failed[0]}")

    best = np.zeros(1)
    run(best, -1)  # asks how much room to work in is best
    room = np.empty(int(best[0]))
    run(room, room.size)
    return values
