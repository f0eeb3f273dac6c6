"""Advice before a run: the classic cases, capacity, the card, disagreements, refusals."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lora_engine.advisor import AdviceRequest, advise, alpha_remark
from lora_engine.advisor.evidence import RATE_AND_RANK, RATE_MATTERS
from lora_engine.advisor.guess_task import guess_task
from lora_engine.advisor.reading import advise_for
from lora_engine.calculator import ModelSource, config_source, preset_source
from lora_engine.data import Message, Row
from lora_engine.errors import InvalidInput
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, recipe_spec, spec_from


def gpt2_medium() -> ModelSource:
    sizes = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    return config_source({**preset_source("gpt2").config, **sizes}, "gpt2-medium")


@pytest.mark.parametrize(
    ("task", "rows", "model", "rank", "range_"),
    [
        ("faq", 500, lambda: preset_source("llama-2-7b"), 8, (4, 16)),
        ("entities", 300_000, lambda: preset_source("bert-base"), 32, (16, 64)),
        ("verse", 30_000, gpt2_medium, 16, (8, 32)),
    ],
)
def test_the_classic_cases_have_their_answers(task, rows, model, rank, range_):
    advice = advise(AdviceRequest(task=task, rows=rows, model=model()))
    assert (advice.suggested_rank, advice.likely_best, advice.range) == (rank, rank, range_)
    assert advice.alpha == 2 * rank
    assert all(rule.source.name for rule in advice.rules)


def test_tokens_ask_for_the_capacity_that_the_shapes_give():
    request = AdviceRequest(tokens=100_000_000, model=preset_source("llama-3-8b"))
    advice = advise(request)
    capacity = {rule.rank for rule in advice.rules if rule.disagreement == "capacity"}
    assert capacity == {20, 39}
    assert any("2,621,440" in rule.rule for rule in advice.rules)
    assert (advice.range[0], advice.suggested_rank) == (20, 32)
    quick = advise(dataclasses.replace(request, goal="quick"))
    assert quick.suggested_rank == 20


def test_the_goal_moves_the_start_and_not_the_range():
    ranks = {}
    for goal in ("quick", "balanced", "full"):
        advice = advise(AdviceRequest(task="style", rows=300, goal=goal))
        ranks[goal] = advice.suggested_rank
        assert advice.range == (4, 16)
    assert ranks == {"quick": 4, "balanced": 8, "full": 16}


def test_a_hard_task_with_few_rows_is_between_what_both_say():
    advice = advise(AdviceRequest(task="code", rows=500))
    assert advice.suggested_rank == 32
    assert {rule.rank for rule in advice.rules if rule.rank} == {128, 8}
    assert advise(AdviceRequest(task="code", rows=100_000)).suggested_rank == 128


def test_where_sources_disagree_both_stand():
    advice = advise(AdviceRequest(task="faq", rows=500, model=preset_source("llama-2-7b")))
    against: dict[str, list] = {}
    for rule in advice.rules:
        against.setdefault(rule.disagreement, []).append(rule)
    for subject in ("model size", "scaling", "variants", "rate and rank"):
        assert len({rule.source for rule in against[subject]}) == 2
    assert {rule.rank for rule in against["model size"]} == {4, 16}
    assert RATE_MATTERS.url.endswith("2602.04998")
    assert RATE_AND_RANK.url.endswith("2602.06204")
    small = advise(AdviceRequest(task="faq", rows=500, model=preset_source("gpt2")))
    assert "model size" not in {rule.disagreement for rule in small.rules}


def test_a_card_that_is_too_small_is_told_so_with_qlora_proposed():
    request = AdviceRequest(task="faq", rows=500, model=preset_source("llama-2-7b"), card_gib=10)
    advice = advise(request)
    assert advice.memory is not None
    assert not advice.memory.fits
    assert advice.memory.total_gib > 10 > (advice.memory.qlora_gib or 99)
    assert advice.quantization is not None
    assert advice.fields()["quantization"]["bits"] == 4
    assert advice.fields()["optimization.gradient_checkpointing"] is True
    assert "quantization" in {rule.field for rule in advice.rules}
    fitting = advise(dataclasses.replace(request, card_gib=80))
    assert fitting.memory is not None
    assert fitting.memory.fits
    assert fitting.quantization is None


def test_no_rank_is_larger_than_the_smallest_matrix_allows(tiny_llama):
    from lora_engine.calculator import path_source

    advice = advise(AdviceRequest(task="code", rows=10**6, model=path_source(tiny_llama)))
    assert advice.range == (16, 32)
    assert advice.suggested_rank == 32
    assert any("128" in remark for remark in advice.remarks)


def test_what_is_wrong_is_refused_together():
    with pytest.raises(InvalidInput) as refused:
        advise(AdviceRequest(task="poems", rows=0, goal="best", card_gib=-1))  # type: ignore[arg-type]
    paths = {problem.path for problem in refused.value.problems}
    assert paths == {"task", "rows", "goal", "card_gib"}
    with pytest.raises(InvalidInput):
        advise(AdviceRequest())
    with pytest.raises(InvalidInput):
        advise(AdviceRequest(tokens=100))


def test_advice_fills_a_spec_and_prints_as_json():
    advice = advise(AdviceRequest(task="faq", rows=500))
    document: dict = {"method": {}, "optimization": {}}
    for path, value in advice.fields().items():
        section, _, name = path.partition(".")
        document[section][name] = value
    assert spec_from(document).method.rank == 8
    keys = {"suggested_rank", "range", "alpha", "dropout", "target_modules", "learning_rate"}
    assert keys <= set(json.loads(json.dumps(advice.to_json())))
    assert {"rule", "rank", "source", "year", "url"} <= set(advice.to_json()["rules"][0])


@pytest.mark.parametrize(
    ("rank", "alpha", "use_rslora", "scaling", "other", "has_remark"),
    [
        (8, 16, False, 2.0, 16 / 8**0.5, False),
        (64, 16, False, 0.25, 2.0, True),
        (4, 17, False, 4.25, 8.5, True),
        (16, 8, False, 0.5, 2.0, False),
        (4, 16, False, 4.0, 8.0, False),
        (64, 128, True, 16.0, 2.0, True),
        (64, 16, True, 2.0, 0.25, False),
    ],
)
def test_alpha_is_remarked_on_outside_its_usual_scaling(
    rank, alpha, use_rslora, scaling, other, has_remark
):
    found = alpha_remark(rank, alpha, use_rslora)
    assert found.scaling == pytest.approx(scaling)
    assert found.other_scaling == pytest.approx(other)
    assert bool(found.remark) == has_remark
    there = alpha_remark(rank, found.same_alpha, not use_rslora)
    assert there.scaling == pytest.approx(scaling)


def chat(*answers: str) -> list[Row]:
    return [
        Row(number, (Message("user", "?"), Message("assistant", answer)), None)
        for number, answer in enumerate(answers, 1)
    ]


@pytest.mark.parametrize(
    ("rows", "guessed"),
    [
        (chat(*[f"The answer to question {n} is long enough." for n in range(8)]), "faq"),
        (chat(*["yes", "no"] * 8), "classification"),
        (chat(*[f"def f{n}():\n    return {n}" for n in range(8)]), "code"),
        (chat(*[f"<think>{n} is even.</think>It is {n}." for n in range(8)]), "reasoning"),
        (chat(*[f'{{"answer": {n}}}' for n in range(8)]), "style"),
        ([Row(1, (), "To be,\nor not to be,\nthat is\nthe question\n")], "verse"),
        ([Row(1, (), "A long line of prose that goes on and on, " * 5)], "style"),
    ],
)
def test_the_task_is_guessed_from_the_rows(rows, guessed):
    found = guess_task(rows, "causal_lm")
    assert found.task == guessed
    assert found.why


def test_classifiers_say_their_task_themselves():
    assert guess_task(chat("x"), "token_classification").task == "entities"
    assert guess_task(chat("x"), "sequence_classification").task == "classification"


def test_a_spec_is_read_for_rows_tokens_and_base(settings: Settings):
    spec: RunSpec = recipe_spec("pirate")
    found = advise_for(spec, settings)
    assert found.guess is not None
    assert found.rows == 688  # of 764, a tenth kept apart
    assert 5_000 < found.tokens < 20_000
    assert found.advice.learning_rate == 1e-3
    assert found.advice.suggested_rank == 8
    said = advise_for(spec, settings, task="style", goal="full")
    assert said.guess is None
    assert said.advice.suggested_rank == 16
