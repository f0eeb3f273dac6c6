"""The lesson's steps: what they say is what NumPy computes, and each can be built and linked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lora_engine.errors import EngineError, InvalidInput
from lora_engine.spectrum import TEACHING
from pages.learn.steps import STEPS, counts, gradient, rank, svd, update


def test_keys_and_titles_are_each_steps_own() -> None:
    assert len({step.key for step in STEPS}) == len(STEPS)
    assert len({step.title for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.key)
def test_a_step_has_one_sentence_a_formula_and_a_way_on(step) -> None:
    assert step.claim.endswith(".")
    assert ". " not in step.claim
    assert step.formula.startswith("$$")
    assert step.formula.endswith("$$")
    assert step.try_it


def test_row_five_is_the_sum_and_only_the_last_column_frees_it() -> None:
    matrix = np.array(rank._content()["matrix"], dtype=float)
    assert np.array_equal(matrix, np.array(TEACHING))
    assert np.array_equal(matrix[4], matrix[0] + matrix[1])
    assert np.linalg.matrix_rank(matrix) == 4
    within = matrix.copy()
    within[4, :4] += [3, -1, 2, 5]
    assert np.linalg.matrix_rank(within) == 4
    matrix[4, 4] = 1
    assert np.linalg.matrix_rank(matrix) == 5


def test_three_directions_keep_what_the_step_says() -> None:
    content = svd._content()
    u, s, v = (np.array(content[name]) for name in ("u", "s", "v"))
    values = np.linalg.svd(np.array(TEACHING, dtype=float), compute_uv=False)
    np.testing.assert_allclose(s, values, atol=1e-12)
    np.testing.assert_allclose(u.T @ np.diag(s) @ v, TEACHING, atol=1e-12)
    assert content["energy"][2] == pytest.approx(0.9997914, abs=1e-7)
    assert content["errors"][3] == pytest.approx(values[3])
    np.testing.assert_allclose(u[4] / u[4, 4], [-1, -1, 0, 0, 1], atol=1e-9)


def test_the_update_has_18_numbers_beside_20() -> None:
    content = update._content()
    assert np.array_equal(np.ravel(content["W"]), np.arange(1, 21))
    assert (content["full_parameters"], content["lora_parameters"]) == (20, 18)
    assert np.linalg.matrix_rank(content["delta_weight"]) == 2


def test_the_table_of_counts() -> None:
    content = counts._content()
    assert content["table"][0] == [8_192, 16_384, 65_536]
    assert content["table"][-1] == [131_072, 262_144, 1_048_576]
    assert content["full"] == [262_144, 1_048_576, 16_777_216]


def test_the_step_by_hand_answers_what_the_browser_sends() -> None:
    asked = {**gradient.START, "B": [[0], [0]]}
    answer = json.loads(gradient.edited(json.dumps(asked)))
    assert answer["grad_A"] == [[0, 0, 0]]
    assert answer["start"] == gradient.START
    with pytest.raises(EngineError):
        gradient.edited("not JSON")
    with pytest.raises(InvalidInput):
        gradient.edited(json.dumps({**gradient.START, "x": [1, 2]}))
