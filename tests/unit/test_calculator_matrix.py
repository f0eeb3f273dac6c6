"""d, k and r by hand: known answers of NUMERICS.md, bounds, and that nothing heavy is imported."""

import subprocess
import sys

import numpy as np
import pytest

from lora_engine import calculator
from lora_engine.calculator.worked_example import descend, start_example, work_example
from lora_engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("d", "k", "rank", "full", "lora"),
    [
        (512, 512, 8, 262_144, 8_192),
        (4096, 4096, 8, 16_777_216, 65_536),
        (5, 4, 2, 20, 18),
    ],
)
def test_known_answers(d, k, rank, full, lora):
    counted = calculator.count_matrix(d, k, rank)
    assert (counted.full_parameters, counted.lora_parameters) == (full, lora)
    assert counted.ratio == pytest.approx(lora / full)
    assert counted.reduction == pytest.approx(full / lora)


def test_0_39_percent_for_a_4096_square_at_rank_8():
    assert round(100 * calculator.count_matrix(4096, 4096, 8).ratio, 2) == 0.39


def test_contract_keys():
    keys = calculator.count_matrix(4, 4, 1).to_json().keys()
    assert keys >= {"full_parameters", "lora_parameters", "ratio", "reduction"}


def test_break_even_rank_costs_as_much_as_the_weight():
    counted = calculator.count_matrix(6, 3, 2)
    assert counted.break_even_rank == 2
    assert counted.lora_parameters == counted.full_parameters
    assert "break-even" in counted.warnings[0]


def test_rank_above_both_sides_warns_but_counts():
    counted = calculator.count_matrix(5, 4, 7)
    assert counted.lora_parameters == 63
    assert "min(d, k) = 4" in counted.warnings[0]


@pytest.mark.parametrize("rank", [0, -1, 10**9, 1.5, True, "8", None])
def test_bad_rank_names_the_field(rank):
    with pytest.raises(InvalidInput) as caught:
        calculator.count_matrix(8, 8, rank)
    assert [problem.path for problem in caught.value.problems] == ["rank"]


def test_an_empty_field_is_called_empty():
    with pytest.raises(InvalidInput, match="rank: is empty; a whole number from 1 to"):
        calculator.count_matrix(8, 8, None)


def test_all_wrong_fields_are_reported_together():
    with pytest.raises(InvalidInput) as caught:
        calculator.count_matrix(0, 10**12, -3)
    assert [problem.path for problem in caught.value.problems] == ["d", "k", "rank"]


def test_counting_a_matrix_imports_nothing_heavy():
    code = (
        "import sys; from lora_engine import calculator; calculator.count_matrix(8, 8, 2);"
        "calculator.PRESETS['gpt2'];"
        "heavy = {'torch', 'transformers', 'peft', 'scipy', 'pandas', 'gradio', 'plotly'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_example_starts_at_the_base_model():
    example = start_example()
    assert example.W.shape == (5, 4)
    assert np.array_equal(example.adapted, example.W)
    assert example.A.any()


def test_example_by_hand():
    example = work_example([[1, 0], [0, 1]], [[1, 2]], [[3], [4]], alpha=2)
    assert example.scaling == 2
    assert example.adapted.tolist() == [[7, 12], [8, 17]]


def test_first_step_moves_b_only_and_lowers_the_loss():
    example = start_example()
    step = descend(example, np.zeros((5, 4)), learning_rate=0.1)
    assert np.array_equal(step.after.A, example.A)
    assert step.after.B.any()
    assert step.loss_after < step.loss_before


def test_gradient_against_finite_differences():
    generator = np.random.default_rng(1)
    W, A, B, target = (generator.normal(size=s) for s in ((5, 4), (2, 4), (5, 2), (5, 4)))
    step = descend(work_example(W, A, B, alpha=4), target)

    def loss(A, B):
        return 0.5 * ((work_example(W, A, B, 4).adapted - target) ** 2).sum()

    for matrix, gradient, evaluate in (
        (A, step.grad_A, lambda moved: loss(moved, B)),
        (B, step.grad_B, lambda moved: loss(A, moved)),
    ):
        for index in np.ndindex(matrix.shape):
            bump = np.zeros_like(matrix)
            bump[index] = 1e-5
            slope = (evaluate(matrix + bump) - evaluate(matrix - bump)) / 2e-5
            assert slope == pytest.approx(gradient[index], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    ("W", "A", "B", "field"),
    [
        ([[1, 2]], [[1, 2, 3]], [[1]], "A"),
        ([[1, 2]], [[1, 2]], [[1, 2]], "B"),
        ([[1, float("nan")]], [[1, 2]], [[1]], "W"),
        ([["x"]], [[1]], [[1]], "W"),
        ([[1]], [[1], [2, 3]], [[1]], "A"),
        (np.zeros((1000, 2)), [[1, 2]], [[1]], "W"),
    ],
)
def test_bad_example_names_the_matrix(W, A, B, field):
    with pytest.raises(InvalidInput) as caught:
        work_example(W, A, B, alpha=1)
    assert field in [problem.path for problem in caught.value.problems]


def test_a_diverging_step_is_an_error_for_the_person():
    from lora_engine.errors import EngineError

    example = work_example([[1e300]], [[1e300]], [[1]], alpha=1)
    with pytest.raises(EngineError):
        descend(descend(example, [[0]], 1000).after, [[0]], 1000)
