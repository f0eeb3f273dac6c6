"""The known answers of the numerics page, to 1e-6, by every route."""

import json

import numpy as np
import pytest

from lora_engine.spectrum import (
    Factors,
    decompose,
    decompose_file,
    factor_spectrum,
    factor_values,
    metrics,
    sample,
)

TEACHING = sample("teaching").matrix().values
SIGMA = [7.025812317, 3, 2.150539499, 0.114634848, 0]


@pytest.mark.parametrize("method", ["svd", "gram", "randomized"])
def test_teaching_matrix(method):
    found = decompose(TEACHING, method)
    assert found.singular_values == pytest.approx(SIGMA, abs=1e-6)
    assert found.energy[:3] == pytest.approx([0.78352, 0.92638, 0.99979141], abs=5e-6)
    assert found.energy[2] == pytest.approx(0.99979141, abs=1e-8)
    cut, summary = found.truncate(3), found.summary()
    assert cut.frobenius_error == pytest.approx(0.114634848, abs=1e-6)
    assert cut.spectral_error == pytest.approx(0.114634848, abs=1e-6)
    assert (cut.parameters, cut.full_parameters) == (30, 25)
    assert summary.rank == 4
    assert summary.stable_rank == pytest.approx(1.276284, abs=1e-6)
    assert summary.effective_rank == pytest.approx(2.752499, abs=1e-6)
    assert (summary.k90, summary.k95, summary.k99) == (2, 3, 3)
    assert summary.noise is None


def test_teaching_matrix_from_a_file_with_the_contract_s_keys(tmp_path):
    np.save(tmp_path / "s.npy", TEACHING.astype(np.int64))
    answer = decompose_file(tmp_path / "s.npy", k=3, output=tmp_path / "out.npy").to_json()
    assert {
        "shape", "singular_values", "rank", "k", "energy", "frobenius_error", "relative_error",
        "method", "certificate",
    } <= set(answer)  # fmt: skip
    assert answer["singular_values"] == pytest.approx(SIGMA, abs=1e-6)
    assert answer["relative_error"] == pytest.approx(np.sqrt(1 - 0.99979141), abs=1e-5)
    assert (answer["shape"], answer["rank"], answer["k"]) == ([5, 5], 4, 3)
    json.dumps(answer, allow_nan=False)
    written = np.load(tmp_path / "out.npy")
    assert np.linalg.norm(TEACHING - written) == pytest.approx(0.114634848, abs=1e-6)
    assert np.linalg.matrix_rank(written) == 3


def test_scaled_identity_factors():
    B = np.eye(32)[:, :4]
    A = np.diag([4.0, 3, 2, 1]) @ np.eye(4, 32)
    factors = Factors(2 * B, A)
    values = factor_values(factors)
    assert values == pytest.approx([8, 6, 4, 2], abs=1e-12)
    assert factor_spectrum(factors).singular_values == pytest.approx([8, 6, 4, 2], abs=1e-12)
    curve = metrics.energy_curve(values)
    assert curve == pytest.approx([0.53333333, 0.83333333, 0.96666667, 1], abs=1e-8)
    assert metrics.stable_rank(values) == pytest.approx(1.875)


def test_gavish_donoho_constants():
    assert metrics.hard_threshold_unknown(1.0) == pytest.approx(2.85836, abs=1e-5)
    assert metrics.hard_threshold_known(1.0) == pytest.approx(4 / np.sqrt(3), abs=1e-12)
    # arXiv 1305.5870, table IV
    assert metrics.hard_threshold_unknown(0.5) == pytest.approx(2.1711, abs=1e-4)
    assert metrics.hard_threshold_unknown(0.1) == pytest.approx(1.6089, abs=2e-4)


def test_noise_view_finds_the_eight_directions_that_were_put_in():
    found = decompose(sample("low-rank-plus-noise").matrix())
    noise = found.summary().noise
    assert noise.above_edge == noise.above_threshold == 8
    assert noise.noise_std == pytest.approx(0.1, rel=0.05)


def test_pure_noise_stays_below_the_edge():
    values = np.random.default_rng(1).standard_normal((300, 500)) * 0.3
    noise = decompose(values).summary().noise
    assert noise.noise_std == pytest.approx(0.3, rel=0.02)
    assert noise.above_threshold == 0
    assert decompose(values).singular_values[0] == pytest.approx(noise.edge, rel=0.02)


def test_noise_means_nothing_for_a_low_rank_product():
    product = np.ones((64, 3)) @ np.random.default_rng(0).standard_normal((3, 64))
    assert decompose(product).summary().noise is None


def test_hilbert_matrix_loses_its_rank_in_floating_point():
    assert 15 < decompose(sample("hilbert").matrix()).summary().rank < 25


def test_a_zero_matrix_has_rank_zero_everywhere():
    for method in ("svd", "gram"):
        found = decompose(np.zeros((6, 4)), method)
        summary = found.summary()
        assert (summary.rank, summary.stable_rank, summary.effective_rank) == (0, 0.0, 0.0)
        assert (summary.k90, summary.k99) == (0, 0)
        cut = found.truncate(2)
        assert (cut.energy, cut.relative_error) == (1.0, 0.0)
