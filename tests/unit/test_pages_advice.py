"""Advice and sweeps on the pages: what is shown, what "Use this" gives, what a grid refuses."""

import dataclasses

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.advisor import AdviceRequest, advise
from lora_engine.calculator import preset_source
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.spec import recipe_spec
from pages.shared import advice_html
from pages.shared.advice_cases import CASES
from pages.shared.advice_panel import Advised, advised
from pages.shared.forms import SpecForm
from pages.train import sweep_section

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture(scope="module")
def small_card():
    request = AdviceRequest(task="faq", rows=500, model=preset_source("llama-2-7b"), card_gib=10)
    return advise(request)


def test_every_rule_is_shown_with_its_source_and_year(small_card):
    shown = advice_html.as_html(small_card, "For <b>mine</b>.")
    assert "For &lt;b&gt;mine&lt;/b&gt;." in shown
    assert shown.count('class="rs-rule"') == len(small_card.rules)
    for rule in small_card.rules:
        assert rule.source.url in shown
        assert rule.source.year is None or f", {rule.source.year}</small>" in shown
    subjects = {rule.disagreement for rule in small_card.rules} - {""}
    assert shown.count('class="rs-disagree"') == len(subjects)


def test_a_source_cannot_bring_markup(small_card):
    rule = dataclasses.replace(small_card.rules[0], rule="<img src=x>", value="<i>")
    shown = advice_html.as_html(dataclasses.replace(small_card, rules=(rule,)), "")
    assert "<img" not in shown
    assert "<i>" not in shown


def test_use_this_sets_the_fields_that_the_advice_names_and_no_others(small_card):
    form = SpecForm()
    with gr.Blocks():
        for path in ("name", "method.rank", "method.dropout", "method.target_modules"):
            form.field(path)
        for path in ("quantization.bits", "quantization.type", "optimization.learning_rate"):
            form.field(path)
    known = advised(Advised.of(small_card).model_dump_json())
    filled = form.partly_filled(known.fields)
    values = {path: filled.get(form.component(path), "untouched") for path in form.paths}
    assert values == {
        "name": "untouched",
        "method.rank": 8,
        "method.dropout": 0.05,
        "method.target_modules": "untouched",
        "quantization.bits": 4,
        "quantization.type": "nf4",
        "optimization.learning_rate": 2e-4,
    }
    assert known.ranks == (4, 8, 16)
    assert len(known.learning_rates) == 3


def test_what_waits_in_the_browser_is_not_trusted():
    with pytest.raises(EngineError):
        advised("{}")
    form = SpecForm()
    with gr.Blocks():
        form.field("method.rank")
    with pytest.raises(InvalidInput) as refused:
        form.partly_filled({"method.rank": "<b>", "seed.x": 1})
    assert {problem.path for problem in refused.value.problems} >= {"method.rank"}


def test_the_classic_cases_keep_their_answers_with_and_without_their_models():
    for case, rank in zip(CASES, (8, 32, 16), strict=True):
        alone = advise(AdviceRequest(task=case.task, rows=case.rows))
        assert advise(case.request()).suggested_rank == alone.suggested_rank == rank
        assert alone.range == (rank // 2, 2 * rank)


def test_a_grid_is_what_was_typed():
    run = recipe_spec("pirate")
    sweep = sweep_section.grid(run, "2, 4", "1e-3,3e-4", " ", stop_worse=True)
    assert sweep.stop_worse
    assert {axis.path: axis.values for axis in sweep.axes} == {
        "method.rank": [2, 4],
        "optimization.learning_rate": [1e-3, 3e-4],
    }
    assert [child.method.alpha for child in sweep.children()] == [4, 4, 8, 8]


@pytest.mark.parametrize(
    ("ranks", "rates", "seeds", "path", "said"),
    [
        ("", "", "", "sweep.ranks", "nothing varies"),
        ("2, x", "", "", "sweep.ranks", "'x'"),
        ("2, 2", "", "", "sweep.ranks", "twice"),
        ("0", "", "", "sweep.ranks", "greater than or equal to 1"),
        ("2", "-1", "", "sweep.learning_rates", "greater than 0"),
        ("", "", "1.5", "sweep.seeds", "1.5"),
        ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "", "0,1,2,3,4,5,6,7,8,9,10,11,12,13", None, "210"),
        ("[" * 20_000, "", "", "sweep.ranks", "integer"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_at_what_was_typed(ranks, rates, seeds, path, said):
    with pytest.raises(InvalidInput) as refused:
        sweep_section.grid(recipe_spec("pirate"), ranks, rates, seeds, stop_worse=False)
    (problem, *_) = refused.value.problems
    assert path in (problem.path, None)
    assert said in problem.message
