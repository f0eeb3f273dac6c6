"""The losses of preferences on numbers worked out by hand, and what they say at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lora_engine.data.preference_tokens import JudgedRow, PairRow, answers_of, tokens_of
from lora_engine.data.tokenization import TokenizedRow
from lora_engine.spec import ObjectiveSpec
from lora_engine.training.objectives.answers import Answers, ScoredPairs
from lora_engine.training.objectives.preference_losses import (
    estimated_kl,
    judged_losses,
    pair_losses,
)
from lora_engine.training.objectives.preferences import mismatched
from lora_engine.training.objectives.reference import (
    FILE,
    Reference,
    ReferencedRows,
    read_reference,
    write_reference,
)


def scored(chosen, rejected, tokens=(2, 4)):
    sides = [
        Answers(torch.tensor(values, requires_grad=True), torch.tensor([count] * len(values)))
        for values, count in zip((chosen, rejected), tokens, strict=True)
    ]
    return ScoredPairs(sides[0], sides[1], read=0)


def objective(**fields):
    return ObjectiveSpec.model_validate(fields)


def logistic(x):
    return 1 / (1 + math.exp(-x))


REFERENCE = torch.tensor([[-3.0, -5.0]])


def test_label_smoothing_weighs_both_orders_of_a_pair():
    given = objective(kind="dpo", beta=0.5, label_smoothing=0.1)
    found = pair_losses(given, scored([-2.0], [-6.0]), REFERENCE)
    margin = 0.5 * ((-2 + 3) - (-6 + 5))
    expected = -0.9 * math.log(logistic(margin)) - 0.1 * math.log(logistic(-margin))
    assert float(found.losses) == pytest.approx(expected)
    assert (float(found.chosen_rewards), float(found.rejected_rewards)) == (0.5, -0.5)


def test_hinge_has_no_gradient_once_the_margin_is_one():
    given = objective(kind="dpo", beta=0.5, loss="hinge")
    for chosen, loss, slope in ((-2.0, 0.25, -0.5), (0.0, 0.0, 0.0)):
        pair = scored([chosen], [-5.5])
        found = pair_losses(given, pair, REFERENCE)
        found.losses.sum().backward()
        assert float(found.losses) == loss
        assert float(pair.chosen.log_probabilities.grad) == slope


def test_simpo_and_orpo_go_by_the_mean_of_a_token():
    pair = scored([-2.0], [-8.0])  # a token: −1 and −2
    simpo = pair_losses(objective(kind="simpo", beta=2.0, gamma=0.5), pair, None)
    assert float(simpo.losses) == pytest.approx(-math.log(logistic(2.0 * 1.0 - 0.5)))
    orpo = pair_losses(objective(kind="orpo", beta=0.3), pair, None)
    odds = [math.exp(p) / (1 - math.exp(p)) for p in (-1.0, -2.0)]
    expected = -0.3 * math.log(logistic(math.log(odds[0] / odds[1])))
    assert float(orpo.losses) == pytest.approx(expected, rel=1e-5)


def test_kto_pulls_good_answers_up_and_bad_ones_down_by_their_weights():
    given = objective(kind="kto", beta=1.0, desirable_weight=2.0, undesirable_weight=0.5)
    ratios = torch.tensor([0.0, 0.0], requires_grad=True)
    losses = judged_losses(given, ratios, torch.tensor([True, False]), torch.tensor(0.0))
    losses.sum().backward()
    assert losses.tolist() == [1.0, 0.25]
    assert ratios.grad.tolist() == [-0.5, 0.125]


def test_the_kl_estimate_is_not_below_zero_and_has_no_gradient():
    ours = torch.tensor([-3.0, -1.0], requires_grad=True)
    assert float(estimated_kl(ours, torch.tensor([-2.0, -1.0]))) == 0.0
    found = estimated_kl(ours, torch.tensor([-4.0, -1.0]))
    assert float(found) == 0.5
    assert not found.requires_grad


def row(number, question, answer, is_desirable=True):
    labels = (*[-100] * len(question), *answer)
    return JudgedRow(number, (*question, *answer), labels, False, is_desirable)


def test_each_question_gets_the_answer_of_the_row_before_it():
    rows = [row(1, (1, 2), (3,)), row(2, (4,), (5, 6)), row(3, (7, 8), (9,))]
    turned = mismatched(rows, max_length=4)
    assert [one.input_ids for one in turned] == [(1, 2, 9), (4, 3), (7, 8, 5, 6)]
    assert [one.labels for one in turned] == [(-100, -100, 9), (-100, 3), (-100, -100, 5, 6)]
    assert mismatched(rows, max_length=3)[2].input_ids == (7, 8, 5)


def test_a_pair_counts_the_tokens_of_both_answers():
    other = TokenizedRow(1, (1, 2, 3), (-100, -100, 3), False)
    pair = PairRow(1, (1, 2), (-100, 2), False, other)
    assert answers_of(pair) == (pair, other)
    assert tokens_of(pair) == 5
    assert tokens_of(pair, added=10) == 25


def test_rows_carry_the_reference_that_was_kept_for_them(tmp_path):
    values = np.array([[-1.5, -2.5], [-3.0, np.nan]], np.float32)
    write_reference(tmp_path, "key", Reference(values, values[:1]))
    found = read_reference(tmp_path, "key", (2, 1))
    rows = ReferencedRows([row(1, (1,), (2,)), row(2, (1,), (3,))], found.training)
    assert rows[0].reference == (-1.5, -2.5)
    assert [one.reference[0] for one in rows] == [-1.5, -3.0]
    assert rows[1:][0].number == 2


@pytest.mark.parametrize("change", ["key", "rows", "torn", "none"])
def test_a_reference_of_another_run_or_a_torn_one_is_made_again(tmp_path, change):
    values = np.zeros((2, 2), np.float32)
    write_reference(tmp_path, "key", Reference(values, values))
    file = tmp_path / FILE
    if change == "torn":
        file.write_bytes(file.read_bytes()[:100])
    if change == "none":
        file.unlink()
    key, rows = ("other" if change == "key" else "key"), ((3 if change == "rows" else 2), 2)
    assert read_reference(tmp_path, key, rows) is None
