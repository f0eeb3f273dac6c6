"""Some eigenvectors and all eigenvalues of a symmetric matrix, in its own memory."""

import tracemalloc

import numpy as np
import pytest

from lora_engine.cancellation import StopSignal
from lora_engine.spectrum import Stopped, decompose, dense, tridiagonal
from lora_engine.spectrum.progress import WorkMonitor
from lora_engine.spectrum.tridiagonal import PANEL, tridiagonalize

SIDE = 2 * PANEL + 13

SPECTRA = {
    "graded": np.logspace(0, -16, SIDE),
    "clustered": np.repeat([4.0, 2.0, 1.0], [20, 40, SIDE - 60]),
    "flat": np.ones(SIDE),
    "of rank five": np.r_[np.linspace(5, 1, 5), np.zeros(SIDE - 5)],
    "enormous": np.linspace(1e200, 1e198, SIDE),
    "tiny": np.linspace(1e-200, 1e-202, SIDE),
}


def planted(values, seed=0):
    """A symmetric matrix with these eigenvalues."""
    size = len(values)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]
    return (basis * values) @ basis.T


def check(matrix, values, count):
    reduced = tridiagonalize(np.triu(matrix))  # what lies below is not read
    found, vectors = reduced.values(), reduced.vectors(count)
    unit = values[0]
    assert found / unit == pytest.approx(values / unit, abs=1e-13)
    assert vectors.T @ vectors == pytest.approx(np.eye(count), abs=1e-11)
    assert (matrix @ vectors) / unit == pytest.approx(vectors * (found[:count] / unit), abs=1e-12)


@pytest.mark.parametrize("kind", SPECTRA)
def test_planted_values_are_found_and_vectors_are_theirs(kind):
    check(planted(SPECTRA[kind]), SPECTRA[kind], 50)


@pytest.mark.parametrize("side", [2, 3, PANEL - 1, PANEL, PANEL + 1, 2 * PANEL, 2 * PANEL + 1])
def test_every_size_around_the_panels(side):
    values = np.linspace(3, 1, side)
    check(planted(values), values, side)
    assert tridiagonalize(planted(values)).vectors(0).shape == (side, 0)


def test_where_the_quick_vectors_fail_the_slower_ones_are_taken(monkeypatch):
    real = tridiagonal.call

    def failing(name, *arguments):
        real(name, *arguments)
        if name == "dstemr":
            arguments[-1][0] = 1
            arguments[11][:] = 0

    monkeypatch.setattr(tridiagonal, "call", failing)
    check(planted(SPECTRA["graded"]), SPECTRA["graded"], 30)


def test_it_stops_between_panels():
    signal, told = StopSignal(), []

    def progress(share, words):
        told.append(share)
        if len(told) == 2:
            signal.set()

    with pytest.raises(Stopped):
        tridiagonalize(np.eye(5 * PANEL), WorkMonitor(progress, signal))
    assert len(told) == 2


def test_vectors_cost_one_gram_matrix_and_their_own_columns(monkeypatch):
    monkeypatch.setattr(dense, "BLOCK_ELEMENTS", 700 * 64)
    matrix = np.random.default_rng(0).standard_normal((700, 900), dtype=np.float32)
    decompose(matrix[:600, :600], "gram", vectors=1)  # imports torch and scipy
    tracemalloc.start()
    found = decompose(matrix, "gram", vectors=32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.left.shape == (700, 32)
    assert peak < 1.4 * 700 * 700 * 8
