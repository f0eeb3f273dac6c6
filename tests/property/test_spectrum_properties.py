"""What must hold for every matrix and every pair of factors, whatever their numbers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine.spectrum import (
    Factors,
    decompose,
    factor_spectrum,
    factor_values,
    metrics,
    stack,
    subspace_similarity,
)
from lora_engine.spectrum.low_rank_factors import inner_product

steady = settings(deadline=None, max_examples=60)

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 24)
scales = st.sampled_from([1e-6, 1.0, 1e5])


def matrix_of(seed, rows, columns, scale=1.0):
    """A random matrix, often of low rank or with repeated or zero values."""
    random = np.random.default_rng(seed)
    rank = int(random.integers(0, min(rows, columns) + 1))
    left = random.standard_normal((rows, rank))
    right = random.standard_normal((rank, columns))
    noise = random.choice([0.0, 0.1]) * random.standard_normal((rows, columns))
    return scale * (left @ right + noise)


@steady
@given(seeds, sides, sides, scales)
def test_orthogonality_and_reconstruction(seed, rows, columns, scale):
    matrix = matrix_of(seed, rows, columns, scale)
    found = decompose(matrix, "svd")
    n = min(rows, columns)
    assert found.left.shape == (rows, n)
    assert found.right.shape == (columns, n)
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(n), atol=1e-10)
    np.testing.assert_allclose(found.right.T @ found.right, np.eye(n), atol=1e-10)
    size = np.linalg.norm(matrix) + 1e-300
    np.testing.assert_allclose(found.rank_k_rows(n, 0, rows) / size, matrix / size, atol=1e-10)
    assert (np.diff(found.singular_values) <= 0).all()


@steady
@given(seeds, sides, sides, scales)
def test_energy_rises_to_one_and_error_falls_to_nothing(seed, rows, columns, scale):
    found = decompose(matrix_of(seed, rows, columns, scale))
    energy, errors = found.energy, found.errors
    assert (np.diff(energy) >= -1e-15).all()
    assert energy[-1] == 1.0 or abs(energy[-1] - 1) < 1e-12
    assert (np.diff(errors) <= 0).all()
    assert errors[-1] == 0
    np.testing.assert_allclose(errors[0], found.frobenius_norm, rtol=1e-12)


@steady
@given(seeds, sides, sides)
def test_error_at_k_is_the_distance_to_the_approximation(seed, rows, columns):
    matrix = matrix_of(seed, rows, columns)
    found = decompose(matrix)
    for k in range(1, min(rows, columns) + 1):
        cut = found.truncate(k)
        left_over = matrix - found.rank_k_rows(k, 0, rows)
        assert abs(np.linalg.norm(left_over) - cut.frobenius_error) < 1e-9
        assert abs(np.linalg.norm(left_over, 2) - cut.spectral_error) < 1e-9


@steady
@given(seeds, sides, sides)
def test_gram_route_equals_plain_svd_above_its_floor(seed, rows, columns):
    matrix = matrix_of(seed, rows, columns)
    plain, gram = decompose(matrix, "svd"), decompose(matrix, "gram", vectors=24)
    sure = plain.singular_values > 10 * max(gram.value_floor, plain.value_floor, 1e-12)
    np.testing.assert_allclose(gram.singular_values[sure], plain.singular_values[sure], rtol=1e-4)
    kept = gram.left.shape[1]
    np.testing.assert_allclose(gram.left.T @ gram.left, np.eye(kept), atol=1e-6)
    assert gram.summary().rank <= min(rows, columns)


@steady
@given(seeds, sides, sides, scales, st.sampled_from([0.0, 1e-2, 1e-4, 1e-8, 1.0]))
def test_every_routes_bounds_hold_the_planted_values(seed, rows, columns, scale, step):
    random, n = np.random.default_rng(seed), min(rows, columns)
    values = scale * np.repeat(step ** np.arange(n), random.integers(1, 4, n))[:n]  # in clusters
    left, right = (np.linalg.qr(random.standard_normal((side, n)))[0] for side in (rows, columns))
    for method in ("svd", "gram", "randomized"):
        found = decompose((left * values) @ right.T, method, vectors=5)
        low, high = found.value_band()
        rounding = 1e-15 * n * values[0]  # of the product that is the matrix
        held = values[: low.size]
        assert (low <= held + rounding).all()
        assert (held <= high + rounding).all()


@steady
@given(seeds, sides, sides, st.integers(1, 30), scales)
def test_factor_route_equals_dense_route(seed, rows, columns, rank, scale):
    random = np.random.default_rng(seed)
    factors = Factors(
        scale * random.standard_normal((rows, rank)), random.standard_normal((rank, columns))
    )
    dense = np.linalg.svd(factors.dense(), compute_uv=False)
    count = min(rows, columns, rank)
    values = factor_values(factors)
    assert values.shape == (count,)
    np.testing.assert_allclose(values, dense[:count], rtol=1e-9, atol=1e-12 * dense[0])
    found = factor_spectrum(factors)
    np.testing.assert_allclose(found.singular_values, values, rtol=1e-9, atol=1e-12 * dense[0])
    np.testing.assert_allclose(
        (found.left * found.singular_values) @ found.right.T,
        factors.dense(),
        atol=1e-10 * dense[0],
    )
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(count), atol=1e-10)


@steady
@given(seeds, sides, sides, st.integers(1, 6), st.integers(1, 6), st.floats(-3, 3))
def test_stacked_factors_are_the_sum(seed, rows, columns, first, second, weight):
    random = np.random.default_rng(seed)
    a, b = (
        Factors(random.standard_normal((rows, r)), random.standard_normal((r, columns)))
        for r in (first, second)
    )
    total = stack([(a, 1.0), (b, weight)])
    np.testing.assert_allclose(total.dense(), a.dense() + weight * b.dense(), atol=1e-10)
    np.testing.assert_allclose(inner_product(a, b), np.sum(a.dense() * b.dense()), atol=1e-9)


@steady
@given(seeds, st.integers(2, 30), st.data())
def test_similarity_lies_between_nothing_and_all(seed, n, data):
    random = np.random.default_rng(seed)
    p, q = (data.draw(st.integers(1, n)) for _ in range(2))
    first, second = (np.linalg.qr(random.standard_normal((n, r)))[0] for r in (p, q))
    phi = subspace_similarity(first, second)
    assert phi.shape == (p, q)
    assert (phi >= 0).all()
    assert (phi <= 1).all()
    np.testing.assert_allclose(phi, subspace_similarity(second, first).T, atol=1e-12)
    np.testing.assert_allclose(np.diag(subspace_similarity(first, first)), 1, atol=1e-10)
    for i, j in [(1, 1), (p, q)]:
        expected = np.linalg.norm(first[:, :i].T @ second[:, :j]) ** 2 / min(i, j)
        np.testing.assert_allclose(phi[i - 1, j - 1], expected, atol=1e-10)


@steady
@given(seeds, sides, sides)
def test_ranks_are_ordered(seed, rows, columns):
    values = decompose(matrix_of(seed, rows, columns)).singular_values
    if not values.any():
        return
    stable, effective = metrics.stable_rank(values), metrics.effective_rank(values)
    rank = np.count_nonzero(values)
    assert 1 - 1e-12 <= stable <= rank * (1 + 1e-12)
    assert 1 - 1e-12 <= effective <= rank * (1 + 1e-12)
    for share in (0.5, 0.9, 0.99):
        k = metrics.rank_for_energy(values, share)
        curve = metrics.energy_curve(values)
        assert curve[k - 1] >= share - 1e-9
        assert k == 1 or curve[k - 2] < share


def test_random_level_is_what_random_subspaces_give():
    random = np.random.default_rng(0)
    total = np.zeros((4, 6))
    for _ in range(400):
        pair = (np.linalg.qr(random.standard_normal((40, r)))[0] for r in (4, 6))
        total += subspace_similarity(*pair)
    i, j = np.arange(1, 5)[:, None], np.arange(1, 7)[None, :]
    np.testing.assert_allclose(total / 400, np.maximum(i, j) / 40, rtol=0.15)
