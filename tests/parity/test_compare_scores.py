"""Scores of given texts equal those of transformers and PEFT, the interval those of a table."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.scoring.held_out_loss import (
    RowLoss,
    paired_difference,
    row_losses,
    student_quantile,
)
from lora_engine.compare.scoring.log_probabilities import answer_tokens
from lora_engine.compare.scoring.token_comparison import (
    compare_tokens,
    layer_contributions,
    score_without_layers,
    strength_curve,
)
from lora_engine.data import Message, TokenizedRow
from lora_engine.errors import EngineError
from tests.compare_models import save_adapter, save_base

ASK = [Message("user", "Say something.")]
ANSWER = "Ahoy, ça va?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def base(folder):
    return save_base(folder / "base")


@pytest.fixture(scope="module")
def adapters(folder, base):
    return {
        "plain": save_adapter(folder / "plain", base, seed=1),
        "dora": save_adapter(folder / "dora", base, seed=2, use_dora=True),
    }


@pytest.fixture
def model(base, adapters, settings):
    return ComparisonModel.load(base, adapters, settings)


def plain_model(base, adapter):
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    return (model if adapter is None else PeftModel.from_pretrained(model, adapter)).eval()


def plain_log_probabilities(base, adapter, tokens, first):
    with torch.inference_mode():
        logits = plain_model(base, adapter)(input_ids=torch.tensor([tokens])).logits[0]
    return logits.log_softmax(-1)[first - 1 : -1]


def test_tokens_kl_perplexity_and_divergence(model, base, adapters):
    prompt, answered = answer_tokens(model, ASK, ANSWER)
    expected = {
        name: plain_log_probabilities(base, path, prompt + answered, len(prompt))
        for name, path in {"base": None, **adapters}.items()
    }
    found = compare_tokens(model, ASK, ANSWER)
    assert len(found.tokens) == len(answered) == len(ANSWER.encode())
    for name, table in expected.items():
        chosen = table[torch.arange(len(answered)), answered]
        mine = [token.log_probability[name] for token in found.tokens]
        assert mine == pytest.approx(chosen.tolist(), abs=1e-4)
        assert found.perplexity[name] == pytest.approx(float((-chosen.mean()).exp()), rel=1e-4)
        best = [token.alternatives[name][0].probability for token in found.tokens]
        assert best == pytest.approx(table.exp().max(-1).values.tolist(), abs=1e-4)
    for name in adapters:
        kl = torch.nn.functional.kl_div(
            expected["base"], expected[name], log_target=True, reduction="none"
        ).sum(-1)
        mine = [token.kl_from_base[name] for token in found.tokens]
        assert mine == pytest.approx(kl.tolist(), abs=1e-3)
        differ = (expected[name].argmax(-1) != expected["base"].argmax(-1)).tolist()
        assert found.first_divergence[name] == (differ.index(True) if True in differ else None)


def test_the_strength_curve_goes_from_the_base_to_the_adapter(model):
    tokens = compare_tokens(model, ASK, ANSWER).tokens
    curve = strength_curve(model, "plain", ASK, ANSWER)
    at = {point.x: point.log_probability for point in curve}
    assert len(at) == 21
    assert at[0.0] == pytest.approx(sum(t.log_probability["base"] for t in tokens), abs=1e-3)
    assert at[1.0] == pytest.approx(sum(t.log_probability["plain"] for t in tokens), abs=1e-3)
    assert at[2.0] != at[1.0]


def test_a_layer_switched_off_is_an_adapter_without_that_layer(folder, base, settings, model):
    only_first = save_adapter(
        folder / "first",
        base,
        seed=7,
        target_modules=["q_proj", "up_proj"],
        layers_to_transform=[0],
    )
    other = ComparisonModel.load(base, {"first": only_first}, settings)
    (without_0,) = layer_contributions(other, "first", ASK, ANSWER)
    tokens = compare_tokens(other, ASK, ANSWER).tokens
    total = {name: sum(t.log_probability[name] for t in tokens) for name in ("base", "first")}
    assert without_0.log_probability == pytest.approx(total["base"], abs=1e-3)
    assert total["first"] != pytest.approx(total["base"], abs=1e-2)
    assert [point.x for point in layer_contributions(model, "plain", ASK, ANSWER)] == [0.0, 1.0]


def test_all_layers_off_is_the_base_and_none_off_the_adapter(model):
    off = score_without_layers(model, "plain", ASK, ANSWER, frozenset({0, 1}))
    one = score_without_layers(model, "plain", ASK, ANSWER, frozenset({0}))
    assert off.without == pytest.approx(off.base, abs=1e-3)
    assert off.full != pytest.approx(off.base, abs=1e-2)
    assert score_without_layers(model, "plain", ASK, ANSWER, frozenset()).without == pytest.approx(
        off.full, abs=1e-3
    )
    alone = layer_contributions(model, "plain", ASK, ANSWER)[0]
    assert one.without == pytest.approx(alone.log_probability, abs=1e-3)


@pytest.mark.parametrize("column", ["dora", "base", "other"])
def test_what_has_no_strength_or_layers_is_refused(model, column):
    with pytest.raises(EngineError):
        layer_contributions(model, column, ASK, ANSWER)


def test_an_empty_or_overlong_answer_is_refused(model):
    with pytest.raises(EngineError, match="empty"):
        compare_tokens(model, ASK, "")
    with pytest.raises(EngineError, match="at most"):
        compare_tokens(model, ASK, "x" * 600)


def test_held_out_loss_is_that_of_transformers(model, base, adapters):
    ids = tuple(range(40, 70))
    rows = [
        TokenizedRow(1, ids, (-100,) * 10 + ids[10:], truncated=False),
        TokenizedRow(2, ids[::-1], ids[::-1], truncated=False),
    ]
    found = list(row_losses(model, rows))
    for name, path in {"base": None, **adapters}.items():
        plain = plain_model(base, path)
        for row, loss in zip(rows, found, strict=True):
            with torch.inference_mode():
                expected = plain(
                    input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])
                ).loss
            assert loss.loss[name] == pytest.approx(float(expected), abs=1e-4)
    assert [loss.tokens for loss in found] == [20, 29]


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.70620), (4, 2.776445), (29, 2.045230), (10_000, 1.960201)]
)
def test_students_quantiles_are_those_of_the_table(degrees, quantile):
    assert student_quantile(0.95, degrees) == pytest.approx(quantile, rel=1e-5)


def test_the_interval_is_that_of_the_paired_t_test():
    before, after = [2.0, 3.5, 1.0, 4.0, 2.5], [1.5, 3.0, 1.2, 3.1, 2.0]
    losses = [
        RowLoss(number, 5, {"base": one, "x": other})
        for number, (one, other) in enumerate(zip(before, after, strict=True))
    ]
    found = paired_difference(losses, "x")
    # differences -0.5 -0.5 0.2 -0.9 -0.5: mean -0.44, standard deviation sqrt(0.632 / 4)
    margin = 2.776445 * (0.632 / 4 / 5) ** 0.5
    assert (found.low, found.high) == pytest.approx((-0.44 - margin, -0.44 + margin), rel=1e-5)
    assert found.base_loss == pytest.approx(2.6)
    assert found.loss == pytest.approx(2.16)
    assert found.verdict == "no clear difference"
    assert "5 rows" in found.warning
    with pytest.raises(EngineError, match="at least 2"):
        paired_difference(losses[:1], "x")


def test_the_held_out_loss_weighs_tokens_as_a_runs_eval_loss_does():
    losses = [
        RowLoss(1, 10, {"base": 2.0, "x": 1.0}),
        RowLoss(2, 30, {"base": 4.0, "x": 3.6}),
    ]
    found = paired_difference(losses, "x")
    assert (found.base_loss, found.loss) == pytest.approx((3.5, 2.95))
    # residuals w (d - D) / w̄: 10 (-1 + 0.55) / 20 and 30 (-0.4 + 0.55) / 20
    error = ((0.225**2 + 0.225**2) / 2) ** 0.5
    assert found.high - found.difference == pytest.approx(12.7062 * error, rel=1e-5)


def test_from_30_rows_on_nothing_is_said_of_the_interval():
    losses = [RowLoss(n, 5, {"base": 2.0, "x": 1.0 + n / 100}) for n in range(30)]
    assert paired_difference(losses, "x").warning == ""
    assert "29 rows" in paired_difference(losses[:29], "x").warning
