"""A matrix taken apart: its singular values, some vectors, and how far both can be trusted.

    W = U diag(s) V^T,   U (rows, n), s (n,), V (columns, n), n = min(rows, columns)

Five routes, one result. `choose_method` says which is taken: plain SVD while it is quick, the
Gram route beyond (for values alone a band), a randomized sketch where even that is too large. A
product of two factors is taken apart from these at any size. How each is computed lives in
`dense.py`, `band.py`, `randomized.py` and `delta_weight.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import metrics
from lora_engine.spectrum.metrics import NoiseView, StorageNoise

Method = Literal["svd", "gram", "band", "randomized", "factors"]

PLAIN_SIDE = 1024
"""Smaller side up to which a plain SVD takes about a second on two cores."""

LARGEST_PLAIN_SIDE = 4096
"""Smaller side up to which a plain SVD is done when asked for (a minute or two)."""

GRAM_SIDE = 8192
"""Smaller side up to which a square float64 matrix of that side is factored (2 GiB at most)."""

SHARES = (0.90, 0.95, 0.99)


@dataclass(frozen=True)
class Certificate:
    """What is certain about the first k directions.

    The energy kept lies in [energy_low, energy_high] and the Frobenius error in [error_low,
    error_high]. Both are points for the exact routes, as long as every value is resolved: of a
    value below value_floor the Gram route knows only that.
    """

    kind: Literal["exact", "interval"]
    energy_low: float
    energy_high: float
    error_low: float
    error_high: float
    value_floor: float
    statement: str

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclass(frozen=True)
class Truncation:
    """The best approximation of rank k, in numbers (Eckart-Young)."""

    k: int
    energy: float
    frobenius_error: float
    relative_error: float
    spectral_error: float
    parameters: int
    full_parameters: int
    certificate: Certificate


@dataclass(frozen=True)
class Summary:
    """A spectrum in a few numbers. None where the known values cannot tell.

    complete: every value that is not zero is known; else rank is a lower bound. effective_rank
    is then given only where the unknown values cannot move it by about 1 %.
    """

    rank: int
    complete: bool
    stable_rank: float
    effective_rank: float | None
    k90: int | None
    k95: int | None
    k99: int | None
    noise: NoiseView | None


@dataclass(frozen=True, eq=False)
class Decomposition:
    """W = U diag(s) V^T as far as it was computed.

    singular_values: (p,) float64, descending; p = n for exact routes. left (rows, q) and right
    (columns, q) hold the first q vectors, q <= p. total_squared: ||W||_F^2. eps: of the stored
    numbers. value_floor: below it no value is resolved. residual_*: what a randomized sketch
    left over, ||R||_F^2 exactly and ||R||_2^2 as an upper bound; zero for exact routes.
    next_value: the sketch's value after the last one held; zero for exact routes.
    value_shift: how far any value may be off by the rounding of its float32 part (band route).
    noise: the rounding of the numbers as stored, where it is known.
    """

    shape: tuple[int, int]
    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    total_squared: float
    method: Method
    eps: float
    value_floor: float
    residual_frobenius_squared: float = 0.0
    residual_spectral_squared: float = 0.0
    next_value: float = 0.0
    value_shift: float = 0.0
    noise: StorageNoise | None = None

    @property
    def frobenius_norm(self) -> float:
        return math.sqrt(self.total_squared)

    @property
    def energy(self) -> np.ndarray:
        """energy(k) for k = 1..p; a lower bound where values are not known."""
        if self.value_shift:
            return metrics.energy_curve(self.value_band()[0], self.total_squared)
        return metrics.energy_curve(self._values_with(0.0), self.total_squared)

    @property
    def errors(self) -> np.ndarray:
        """||W - W_k||_F for k = 0..p; an upper bound where values are not known."""
        total = self.total_squared if self.method == "randomized" else None
        found = metrics.truncation_errors(self._above, total)
        return np.minimum(found, self.frobenius_norm)

    def energy_band(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of energy(k) for k = 1..p, to draw as a band.

        Of a sketch: sum s^2 <= sum sigma^2 <= sum s^2 + min(k ||R||_2^2, ||R||_F^2). Of the Gram
        route: an unresolved value lies between 0 and the floor.
        """
        k = np.arange(1, self.singular_values.size + 1)
        slack = np.minimum(k * self.residual_spectral_squared, self.residual_frobenius_squared)
        low = self.energy
        if not self.total_squared:
            return low, low
        high = metrics.energy_curve(self._above, self.total_squared)
        return low, np.minimum(high + slack / self.total_squared, 1.0)

    def value_band(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound of each singular value held, (p,) each.

        A square of the Gram route is off by up to floor^2, and a value of a plain SVD by up to the
        floor (Weyl); one of the band route by its shift beyond that. A sketch's value is a lower
        bound: s^2 <= sigma^2 <= s^2 + ||R||_2^2.
        """
        values, floor = self.singular_values, self.value_floor
        if self.method in ("svd", "factors"):
            return np.maximum(values - floor, 0.0), values + floor
        squared = np.square(values)
        below, above = floor**2, floor**2
        if self.method == "randomized":
            above += self.residual_spectral_squared
        low, high = np.sqrt(np.maximum(squared - below, 0.0)), np.sqrt(squared + above)
        return np.maximum(low - self.value_shift, 0.0), high + self.value_shift

    @property
    def _above(self) -> np.ndarray:
        """Each value, or an upper bound where it is not known exactly, (p,)."""
        return self.value_band()[1] if self.value_shift else self._values_with(self.value_floor)

    @property
    def _unresolved(self) -> np.ndarray:
        """Which values the Gram route knows only to lie below its floor, (p,)."""
        if self.method not in ("gram", "band"):
            return np.zeros(self.singular_values.size, dtype=bool)
        return self.singular_values <= self.value_floor

    def _values_with(self, unresolved: float) -> np.ndarray:
        """The singular values with `unresolved` in place of each one that is not resolved."""
        return np.where(self._unresolved, unresolved, self.singular_values)

    def truncate(self, k: int) -> Truncation:
        """The numbers of the rank-k approximation. Raises EngineError when k is out of range."""
        check_k(k, self.singular_values.size, self.shape)
        certificate = self._certificate(k)
        spectral = math.sqrt(self._value_after(k) ** 2 + self.residual_spectral_squared)
        error = certificate.error_high
        rows, columns = self.shape
        return Truncation(
            k=k,
            energy=certificate.energy_low,
            frobenius_error=error,
            relative_error=error / self.frobenius_norm if self.total_squared else 0.0,
            spectral_error=spectral,
            parameters=k * (rows + columns),
            full_parameters=rows * columns,
            certificate=certificate,
        )

    def _value_after(self, k: int) -> float:
        """sigma_(k+1), an upper bound where it is not resolved; 0 after the last value there is."""
        if k < self.singular_values.size:
            return float(self._above[k])
        return self.next_value

    def summary(self) -> Summary:
        """Ranks, the k for 90, 95 and 99 % of the energy, and the noise view."""
        values = self.singular_values
        rank = metrics.numerical_rank(values, self.shape, self.eps, self.value_floor)
        k90, k95, k99 = (metrics.rank_for_energy(values, s, self.total_squared) for s in SHARES)
        complete = self._knows_all_values(rank)
        return Summary(
            rank=rank,
            complete=complete,
            stable_rank=metrics.stable_rank(values, self.total_squared),
            effective_rank=self._effective_rank(complete),
            k90=k90,
            k95=k95,
            k99=k99,
            noise=metrics.noise_view(values, self.shape, rank, self.noise),
        )

    def _least_error(self, k: int) -> float:
        """The lower bound of ||W - W_k||_F on the exact routes.

        Where values after k are not resolved they may be 0, and the others' squares are off by up
        to floor^2 each.
        """
        if self.value_shift:
            return float(np.linalg.norm(self.value_band()[0][k:]))
        unresolved = self._unresolved[k:]
        if not unresolved.any():
            return float(self.errors[k])
        resolved = np.square(self.singular_values[k:][~unresolved])
        return math.sqrt(max(0.0, float(resolved.sum()) - resolved.size * self.value_floor**2))

    def _knows_all_values(self, rank: int) -> bool:
        """Whether every value that numbers of this precision can tell from zero is known."""
        values = self.singular_values
        if self.method == "randomized":
            return values.size == min(self.shape) or rank < values.size
        tolerance = float(values[0]) * max(self.shape) * self.eps if values.size else 0.0
        return self.value_floor <= tolerance or not self._unresolved.any()

    def _effective_rank(self, complete: bool) -> float | None:
        """exp(-sum p ln p), None where the values that are not known could move it by 1 %."""
        if complete:
            return metrics.effective_rank(self.singular_values)
        known = self._values_with(0.0)
        unknown = int(self._unresolved.sum())
        share = unknown * self.value_floor / max(float(known.sum()), self.value_floor)
        if self.method == "randomized" or share * math.log(math.e * unknown / share) > 0.01:
            return None
        return metrics.effective_rank(known)

    def available_k(self, k: int) -> int:
        """How many of the first k directions are held; those left out add nothing.

        Raises EngineError when k is out of range, or a direction that counts was not kept.
        """
        values, held = self.singular_values, self.left.shape[1]
        if not 1 <= k <= values.size:
            raise EngineError(
                tr("k is {k}; 1 to {size} is allowed.", k=k, size=f"{values.size:,}"),
                tr("Choose one of these."),
            )
        if k > held and values[held] > self.value_floor:
            raise EngineError(
                tr(
                    "Of this matrix {held} singular vectors are kept; k is {k}.",
                    held=f"{held:,}",
                    k=f"{k:,}",
                ),
                tr("Choose a k up to {held}.", held=f"{held:,}"),
            )
        return min(k, held)

    def rank_k_rows(self, k: int, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of the rank-k approximation, (stop - start, columns)."""
        check_k(k, self.left.shape[1], self.shape)
        scaled = self.left[start:stop, :k] * self.singular_values[:k]
        return scaled @ self.right[:, :k].T

    def _certificate(self, k: int) -> Certificate:
        low, high = (float(band[k - 1]) for band in self.energy_band())
        error_high = float(self.errors[k])
        if self.method == "randomized":
            error_low = math.sqrt(max(0.0, 1 - high) * self.total_squared)
        else:
            error_low = self._least_error(k)
        exact = self.method != "randomized" and error_low == error_high
        if exact:
            statement = tr(
                "Exact; values below {floor} are not resolved.", floor=f"{self.value_floor:.3g}"
            )
        elif self.method == "band":
            statement = tr(
                "Every singular value is right to {shift}, so the error at k = {k} lies between "
                "{low} and {high} (with probability above 1 - 1e-10).",
                shift=f"{self.value_shift:.3g}",
                k=k,
                low=f"{error_low:.6g}",
                high=f"{error_high:.6g}",
            )
        elif self.method == "gram":
            unresolved = int(self._unresolved.sum())
            statement = tr(
                "{count} values lie below {floor} and are not resolved: the error at k = {k} lies "
                "between {low} and {high}.",
                count=f"{unresolved:,}",
                floor=f"{self.value_floor:.3g}",
                k=k,
                low=f"{error_low:.3g}",
                high=f"{error_high:.3g}",
            )
        else:
            statement = tr(
                "Randomized: the energy at k = {k} lies between {low} and {high} (with probability "
                "above 1 - 1e-10).",
                k=k,
                low=f"{low:.4%}",
                high=f"{high:.4%}",
            )
        return Certificate(
            kind="exact" if exact else "interval",
            energy_low=low,
            energy_high=high,
            error_low=error_low,
            error_high=error_high,
            value_floor=self.value_floor,
            statement=statement,
        )


def check_k(k: int, available: int, shape: tuple[int, int]) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= available:
        raise EngineError(
            tr(
                "k is {k}; for this {shape} x {shape_2} matrix 1 to {available} is allowed.",
                k=k,
                shape=f"{shape[0]:,}",
                shape_2=f"{shape[1]:,}",
                available=f"{available:,}",
            ),
            tr("Choose a k in this range."),
        )


def choose_method(shape: tuple[int, int]) -> Method:
    """Plain SVD, Gram route or randomized sketch, by the smaller side."""
    side = min(shape)
    if side <= PLAIN_SIDE:
        return "svd"
    return "gram" if side <= GRAM_SIDE else "randomized"
