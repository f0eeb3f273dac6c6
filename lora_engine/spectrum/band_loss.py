"""How far float32 took a matrix from its band: a bound of ||E||_2, E = U^T W V - B.

E is too large to be computed. It is multiplied with ten random vectors, three times over, in
float64. The vectors are drawn before V^T turns them: turned, they are as random as before. So the
first products with W are taken when W is read, and turned while it is reduced. NumPy's library
takes these narrow products two to four times faster than torch's.
"""

from __future__ import annotations

import math

import numpy as np

from lora_engine.language import tr
from lora_engine.spectrum.band_reduction import Reduced
from lora_engine.spectrum.dense import strips
from lora_engine.spectrum.progress import WorkMonitor
from lora_engine.weights.matrix import MatrixSource

TEST_VECTORS = 10


def random_vectors(n: int) -> np.ndarray:
    """The Gaussian vectors w of the bound as columns, (n, TEST_VECTORS)."""
    return np.random.default_rng(0).standard_normal((n, TEST_VECTORS))


def bound_of_loss(
    tall: MatrixSource, reduced: Reduced, scale: float, once: np.ndarray, monitor: WorkMonitor
) -> float:
    """An upper bound of ||E||_2, E = U^T W V / scale - B, that fails with probability below 1e-10.

    once: E V^T w for the test vectors w, (rows, p). For 10 Gaussian w,
    ||A||_2 <= 10 sqrt(2/pi) max ||A w|| except with probability 1e-10 (Halko, Martinsson and Tropp,
    lemma 4.1). With A = E E^T E V^T the factor 8 shrinks to its cube root.
    """
    back = _transposed_times(tall, reduced, scale, once, monitor.part(0.0, 0.5))
    size = float(np.linalg.norm(back)) or 1.0  # E is small: its cube would leave the range
    thrice = _times(tall, reduced, scale, back / size, monitor.part(0.5, 1.0))
    largest = float(np.linalg.norm(thrice, axis=0).max()) * size
    return float((10 * math.sqrt(2 / math.pi) * largest) ** (1 / 3))


def _times(
    tall: MatrixSource,
    reduced: Reduced,
    scale: float,
    vectors: np.ndarray,
    monitor: WorkMonitor,
) -> np.ndarray:
    """E x for the columns x of `vectors` (n, p): (rows, p)."""
    turned = vectors / scale
    for one in reversed(reduced.right):
        one.apply(turned, transposed=False)
    product = np.empty((tall.shape[0], vectors.shape[1]))
    for start, stop, strip in strips(tall, monitor, tr("bounding what rounding lost")):
        product[start:stop] = strip @ turned
    for one in reduced.left:
        one.apply(product, transposed=True)
    return product - reduced.times(vectors)


def _transposed_times(
    tall: MatrixSource,
    reduced: Reduced,
    scale: float,
    vectors: np.ndarray,
    monitor: WorkMonitor,
) -> np.ndarray:
    """E^T x for the columns x of `vectors` (rows, p): (n, p)."""
    turned = vectors / scale
    for one in reversed(reduced.left):
        one.apply(turned, transposed=False)
    product = np.zeros((tall.shape[1], vectors.shape[1]))
    for start, stop, strip in strips(tall, monitor, tr("bounding what rounding lost")):
        product += strip.T @ turned[start:stop]
    for one in reduced.right:
        one.apply(product, transposed=True)
    return product - reduced.transposed_times(vectors)
