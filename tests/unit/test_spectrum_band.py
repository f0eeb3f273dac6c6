"""Singular values alone through a float32 band: its bounds hold; where other routes are taken."""

import numpy as np
import pytest
import torch

from lora_engine.cancellation import StopSignal
from lora_engine.spectrum import Stopped, band, decompose, decomposition
from lora_engine.spectrum.band import band_route
from lora_engine.spectrum.band_reduction import BAND, WINDOW, reduce_to_band
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights.matrix import ArrayMatrix

SIDE = 4 * BAND + 5
SPECTRA = {
    "graded to 1e-8": np.logspace(0, -8, SIDE),
    "in clusters": np.repeat([3.0, 1.0, 1e-3, 1e-6], [10, 40, 60, SIDE - 110]),
    "flat": np.ones(SIDE),
    "of rank seven": np.r_[np.linspace(9, 3, 7), np.zeros(SIDE - 7)],
    "even": np.linspace(2, 1, SIDE),
}


def planted(values, rows, columns, scale=1.0):
    random = np.random.default_rng(1)
    left, right = (
        np.linalg.qr(random.standard_normal((side, len(values))))[0] for side in (rows, columns)
    )
    return ArrayMatrix((scale * (left * values) @ right.T).astype(np.float32), dtype="float32")


def true_values(matrix):
    return np.linalg.svd(matrix.values.astype(np.float64), compute_uv=False)


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-25])
@pytest.mark.parametrize("longer", [0, 1, 60, SIDE])
@pytest.mark.parametrize("kind", SPECTRA)
def test_each_true_value_lies_within_the_bounds(kind, longer, scale):
    for shape in {(SIDE + longer, SIDE), (SIDE, SIDE + longer)}:
        matrix = planted(SPECTRA[kind], *shape, scale)
        true, found = true_values(matrix), band_route(matrix)
        low, high = found.value_band()
        assert (low <= true).all()
        assert (true <= high).all()
        assert np.abs(found.singular_values - true).max() <= 1e-6 * true[0]
        assert found.value_shift <= 1e-5 * true[0]
        assert found.frobenius_norm == pytest.approx(np.linalg.norm(true), rel=1e-7)


@pytest.mark.parametrize("kind", ["graded to 1e-8", "in clusters", "of rank seven"])
def test_the_bounds_hold_where_the_matrix_is_moved_together(kind):
    side = 2 * WINDOW + 37
    spread = np.linspace(0, 1, SIDE), np.linspace(0, 1, side)
    values = np.interp(spread[1], spread[0], SPECTRA[kind])
    for shape in ((side + 3, side), (side, side + 200)):
        matrix = planted(values, *shape)
        true, found = true_values(matrix), band_route(matrix)
        low, high = found.value_band()
        assert (low <= true).all()
        assert (true <= high).all()
        assert found.value_shift <= 1e-5 * true[0]


def test_reflections_are_orthogonal_to_the_rounding_of_float64():
    matrix = planted(SPECTRA["graded to 1e-8"], SIDE + 20, SIDE).values.copy()
    left, right = np.eye(SIDE + 20), np.eye(SIDE)
    reduced = reduce_to_band(matrix, left, right, SILENT)
    for turned, reflections in ((left, reduced.left), (right, reduced.right)):
        assert turned @ turned.T == pytest.approx(np.eye(len(turned)), abs=1e-13)
        for one in reversed(reflections):
            one.apply(turned, transposed=False)
        assert turned == pytest.approx(np.eye(len(turned)), abs=1e-13)


@pytest.mark.parametrize("kind", SPECTRA)
def test_the_bound_is_above_what_was_lost_and_not_far_above(kind):
    matrix = planted(SPECTRA[kind], SIDE + 20, SIDE)
    left, right = np.eye(SIDE + 20), np.eye(SIDE)
    scale = 2.0 ** np.floor(np.log2(np.abs(matrix.values).max()))
    scaled = matrix.values / np.float32(scale)
    reduced = reduce_to_band(scaled.copy(), left, right, SILENT)
    lost = left @ scaled.astype(np.float64) @ right.T - reduced.times(np.eye(SIDE))
    shift = band_route(matrix).value_shift / scale
    assert np.linalg.norm(lost, 2) <= shift <= 10 * np.linalg.norm(lost, 2)


def test_it_does_without_the_faster_routines(monkeypatch):
    matrix = planted(SPECTRA["even"], SIDE, SIDE)
    known = band_route(matrix)
    monkeypatch.setattr(band, "has", lambda name: False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    found = band_route(matrix)
    assert np.abs(found.singular_values - known.singular_values).max() <= found.value_shift


@pytest.mark.parametrize("side", [1, 2, BAND - 1, BAND, BAND + 1, 2 * BAND, 2 * BAND + 1])
def test_every_size_around_the_band(side):
    values = np.linspace(5, 1, side)
    for shape in {(side, side), (side + 1, side), (side, 2 * side)}:
        found = band_route(planted(values, *shape))
        assert found.singular_values == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("k", [1, 20, 100, SIDE])
@pytest.mark.parametrize("kind", SPECTRA)
def test_energy_error_and_rank_lie_where_the_certificate_says(kind, k):
    matrix = planted(SPECTRA[kind], SIDE, SIDE + 9)
    true, found = true_values(matrix), band_route(matrix)
    cut, summary = found.truncate(k), found.summary()
    sure, squares = cut.certificate, np.square(true)
    assert sure.kind == ("interval" if k < SIDE else "exact")  # nothing is left out
    assert sure.error_low <= np.sqrt(squares[k:].sum()) <= sure.error_high
    energy = squares[:k].sum() / squares.sum()
    assert sure.energy_low <= energy <= sure.energy_high + 1e-12
    assert cut.spectral_error >= (true[k] if k < SIDE else 0.0)
    tolerance = true[0] * max(matrix.shape) * np.finfo(np.float32).eps
    away = np.abs(true - tolerance) > 2 * found.value_floor
    assert abs(summary.rank - np.count_nonzero(true > tolerance)) <= np.count_nonzero(~away)


def test_the_bound_sees_what_goes_wrong(monkeypatch):
    matrix = planted(SPECTRA["even"], SIDE, SIDE)
    real = torch.Tensor.addmm_

    def spoilt(self, *arguments, **options):
        answer = real(self, *arguments, **options)
        if self.dtype == torch.float32 and len(self) > 3 * BAND:
            self[-1, -1] += 0.01
        return answer

    monkeypatch.setattr(torch.Tensor, "addmm_", spoilt)
    assert 0.01 <= band_route(matrix).value_shift <= 0.05


def test_values_alone_of_a_large_float32_matrix_come_from_a_band(monkeypatch):
    monkeypatch.setattr(decomposition, "PLAIN_SIDE", 64)
    monkeypatch.setattr(band, "QUICK_SIDE", SIDE / 2)
    matrix = planted(SPECTRA["even"], SIDE, SIDE + 9)
    found = decompose(matrix, vectors=0)
    assert (found.method, found.summary().rank, found.summary().complete) == ("band", SIDE, True)
    assert decompose(matrix, vectors=5).method == "gram"
    assert decompose(matrix, "gram", vectors=0).method == "gram"
    long = planted(SPECTRA["even"], SIDE, 3 * SIDE)
    wide = ArrayMatrix(matrix.values.astype(np.float64))
    nothing = ArrayMatrix(np.zeros((100, 100), np.float32), dtype="float32")
    for other in (long, wide, nothing):
        assert decompose(other, vectors=0).method == "gram"
    monkeypatch.setattr(band, "QUICK_SIDE", SIDE + 1)
    assert decompose(matrix, vectors=0).method == "gram"


def test_it_stops_between_panels():
    signal, told = StopSignal(), []

    def progress(share, words):
        told.append(share)
        if share > 0.3:
            signal.set()

    with pytest.raises(Stopped):
        band_route(planted(SPECTRA["even"], SIDE, SIDE), WorkMonitor(progress, signal))
    assert 0.3 < told[-1] < 0.7
