"""An adapter's update of one module, taken apart from its factors."""

from __future__ import annotations

import numpy as np
import pytest

from lora_engine.errors import EngineError
from lora_engine.spectrum import FactorMatrix, Factors, decompose, pool_picture, takes_a_while


def update(rows: int = 32) -> FactorMatrix:
    """Singular values 8, 6, 4, 2, of NUMERICS.md's second known answer."""
    left = np.zeros((rows, 4))
    left[:4] = np.eye(4) * 2
    return FactorMatrix("update", Factors(left, np.diag([4.0, 3, 2, 1]) @ np.eye(4, rows)))


def test_an_update_is_taken_apart_from_its_factors() -> None:
    matrix = update()

    found = decompose(matrix)

    assert found.method == "factors"
    assert found.singular_values == pytest.approx([8, 6, 4, 2])
    assert found.energy == pytest.approx([0.53333333, 0.83333333, 0.96666667, 1])
    assert found.rank_k_rows(4, 0, 32) == pytest.approx(matrix.rows(0, 32))
    assert decompose(matrix, "svd").singular_values[:4] == pytest.approx([8, 6, 4, 2])


def test_a_large_update_is_exact_and_quick_where_a_matrix_would_be_sketched() -> None:
    large = update(20_000)

    assert not takes_a_while(large)
    assert decompose(large).singular_values == pytest.approx([8, 6, 4, 2])


def test_a_zero_update_is_refused() -> None:
    nothing = FactorMatrix("nothing", Factors(np.zeros((32, 4)), np.eye(4, 32)))

    with pytest.raises(EngineError, match="zero"):
        decompose(nothing)


def test_the_picture_alone_is_the_mean_of_each_tile() -> None:
    matrix = update()
    means = matrix.rows(0, 32).reshape(16, 2, 16, 2).mean(axis=(1, 3))

    assert pool_picture(matrix, 16, 16) == pytest.approx(means)
