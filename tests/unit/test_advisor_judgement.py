"""The judgement of made-up losses: which rank, with which evidence, and what is said besides."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lora_engine.advisor.bootstrap import pairs_of, pairwise_intervals, simultaneous_intervals
from lora_engine.advisor.children import MissingChild
from lora_engine.advisor.curve_signs import read_signs
from lora_engine.advisor.judgement import judge
from lora_engine.compare.scoring import Forgetting
from lora_engine.compare.scoring.held_out_loss import student_quantile
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.run_folder import MetricsRow
from lora_engine.spec import ObjectiveSpec
from tests.judged_runs import child, judged, table, tables
from tests.metrics_rows import metrics_row

ROWS = 60
RANDOM = np.random.default_rng(0)
DIFFICULTY = RANDOM.gamma(4.0, 0.5, ROWS)  # about 2 nats
DRAWS = 2_000


def losses(mean: float, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    return DIFFICULTY + mean + np.random.default_rng(seed).normal(0, noise, ROWS)


def test_the_smallest_rank_that_is_not_worse_is_recommended():
    children = judged(child("a", 4), child("b", 8), child("c", 16))
    held_out = table({"a": losses(0.3, seed=1), "b": losses(0.005, seed=2), "c": losses(0, seed=3)})
    found = judge(children, tables(held_out), draws=DRAWS)
    assert (found.recommended_rank, found.best_rank) == (8, 16)
    assert found.not_worse_by == pytest.approx(0.02 * found.ranks[2].eval_loss)
    assert found.interval.low <= found.interval.mean <= found.interval.high <= found.not_worse_by
    assert [one.not_worse for one in found.ranks] == [False, True, True]
    assert found.ranks[0].interval.low > found.not_worse_by
    assert found.ranks[2].interval.to_json() == [0.0, 0.0]
    strict = judge(children, tables(held_out), not_worse_by=0.0, draws=DRAWS)
    assert strict.recommended_rank == 16
    lax = judge(children, tables(held_out), not_worse_by=0.5, draws=DRAWS)
    assert lax.recommended_rank == 4


def test_a_rank_whose_rows_do_not_decide_is_not_recommended():
    children = judged(child("a", 4), child("b", 8))
    held_out = table({"a": losses(0.03, noise=0.3, seed=4), "b": losses(0.0, seed=2)})
    found = judge(children, tables(held_out), draws=DRAWS)
    undecided = found.ranks[0]
    assert undecided.interval.mean < found.not_worse_by < undecided.interval.high
    assert found.recommended_rank == 8
    assert any(note.startswith("Undecided: rank 4") for note in found.notes)


def test_the_same_seed_gives_the_same_intervals_and_another_others():
    children = judged(child("a", 4), child("b", 8))
    skewed = DIFFICULTY + np.random.default_rng(1).lognormal(-2, 1, ROWS)
    held_out = tables(table({"a": skewed, "b": losses(0, seed=2)}))
    first, again = (judge(children, held_out, draws=DRAWS) for _ in range(2))
    other = judge(children, held_out, draws=DRAWS, seed=1)
    assert first.ranks[0].interval == again.ranks[0].interval
    assert first.ranks[0].interval.high != other.ranks[0].interval.high


def test_each_rank_stands_with_its_best_learning_rate():
    children = judged(
        child("a", 4, 1e-3), child("b", 4, 3e-3), child("c", 16, 1e-3), child("d", 16, 3e-3)
    )
    columns = {
        "a": losses(0.4, seed=1),
        "b": losses(0.0, seed=2),
        "c": losses(0.0, seed=3),
        "d": losses(0.9, seed=4),
    }
    found = judge(children, tables(table(columns)), draws=DRAWS)
    assert [one.learning_rate for one in found.ranks] == [3e-3, 1e-3]
    assert [one.other_settings[0].learning_rate for one in found.ranks] == [1e-3, 3e-3]
    assert found.recommended_rank == 4
    one_rate = judge(judged(children.present[0], children.present[2]), tables(table(columns)))
    assert one_rate.recommended_rank == 16  # the rate is mistaken for the rank
    assert any("2602.06204" in note for note in one_rate.notes)


def test_seeds_are_points_and_their_spread_is_told():
    children = judged(
        child("a", 4, seed=0), child("b", 4, seed=1), child("c", 8, seed=0), child("d", 8, seed=1)
    )
    columns = {
        "a": losses(-0.1, seed=1),
        "b": losses(0.3, seed=2),
        "c": losses(0.0, seed=3),
        "d": losses(0.0, seed=4),
    }
    found = judge(children, tables(table(columns)), draws=DRAWS)
    small = found.ranks[0]
    assert {one.seed for one in small.seeds} == {0, 1}
    assert small.eval_loss == pytest.approx(np.mean([one.eval_loss for one in small.seeds]))
    assert [one.difference for one in small.seeds] == pytest.approx([-0.1, 0.3], abs=0.02)
    assert small.spread == pytest.approx(0.4, abs=0.02)
    assert any("between seeds" in note for note in found.notes)


def test_seeds_with_rows_of_their_own_are_paired_seed_by_seed():
    """Each seed judges on its half of the rows; the easy half makes no rank better."""
    children = judged(
        child("a", 4, seed=0), child("b", 4, seed=1), child("c", 8, seed=0), child("d", 8, seed=1)
    )
    first = np.arange(ROWS) < ROWS // 3
    easy = np.where(first, 0.0, 1.0)
    columns = {
        "a": np.where(first, losses(0.3, seed=1) + easy, np.nan),
        "b": np.where(first, np.nan, losses(0.3, seed=2) + easy),
        "c": np.where(first, losses(0.0, seed=3) + easy, np.nan),
        "d": np.where(first, np.nan, losses(0.0, seed=4) + easy),
    }
    found = judge(children, tables(table(columns)), draws=DRAWS)
    small, large = found.ranks
    assert found.rows == ROWS
    assert small.interval.mean == pytest.approx(0.3, abs=0.02)
    assert small.eval_loss - large.eval_loss == pytest.approx(small.interval.mean)
    assert small.seeds[1].eval_loss > small.seeds[0].eval_loss + 0.5
    assert small.spread < 0.05


def test_forgetting_stands_beside_and_a_rank_that_forgets_more_is_told():
    children = judged(child("a", 4), child("b", 8))
    held_out = table({"a": losses(0.0, seed=1), "b": losses(-0.01, seed=2)})
    answers = {"a": losses(0.8, seed=3), "b": losses(0.0, seed=4)}
    general = replace(table(answers), base=DIFFICULTY)
    found = judge(children, tables(held_out, general), draws=DRAWS)
    words = [one.forgetting and one.forgetting.word for one in found.ranks]
    assert words == [Forgetting.FORGOTTEN, Forgetting.KEPT]
    assert found.recommended_rank == 4
    assert any("forgets clearly more than rank 8" in note for note in found.notes)
    assert "forgetting" not in found.ranks[0].pareto
    assert "forgetting" in found.ranks[1].pareto


def test_pareto_marks_what_nothing_beats():
    children = judged(
        child("a", 4, elapsed_s=10), child("b", 8, elapsed_s=5), child("c", 16, elapsed_s=20)
    )
    columns = {"a": losses(0.2, 0), "b": losses(0.1, 0), "c": losses(0.1, 0)}
    found = judge(children, tables(table(columns)), draws=DRAWS)
    marks = {one.rank: one.pareto for one in found.ranks}
    assert "parameters" in marks[4]
    assert "seconds" not in marks[4]
    assert {"parameters", "seconds"} <= set(marks[8])
    assert marks[16] == ("peak_memory_bytes",)  # as good as rank 8 in both


def test_few_rows_missing_runs_and_a_lone_rank_are_told():
    gone = MissingChild("x", 32, 1e-3, 0, "failed", "The disk is full.")
    held_out = table({"a": losses(0.0)[:12], "b": losses(0.5)[:12]})
    found = judge(
        judged(child("a", 4), child("b", 8), missing=(gone,)), tables(held_out), draws=DRAWS
    )
    assert any("12 rows" in note for note in found.notes)
    assert found.missing == (gone,)
    alone = judge(judged(child("a", 4)), tables(table({"a": losses(0)})), draws=DRAWS)
    assert alone.recommended_rank == 4
    document = json.loads(json.dumps(found.to_json()))
    assert {"recommended_rank", "not_worse_by", "rows", "interval", "ranks"} <= set(document)
    assert {"rank", "eval_loss", "interval", "forgetting"} <= set(document["ranks"][0])


def test_runs_that_learned_preferences_are_told_to_be_judged_by_good_answers():
    one = child("a", 4)
    objective = ObjectiveSpec.model_validate({"kind": "dpo"})
    other = replace(one, spec=one.spec.model_copy(update={"objective": objective}))
    held_out = tables(table({"a": losses(0)}))
    assert any("learned by dpo" in note for note in judge(judged(other), held_out).notes)
    assert not any("learned by" in note for note in judge(judged(one), held_out).notes)


def test_what_cannot_be_judged_is_refused():
    held_out = table({"a": losses(0.0)[:1], "b": losses(0.5)[:1]})
    with pytest.raises(EngineError):
        judge(judged(child("a", 4), child("b", 8)), tables(held_out), draws=DRAWS)
    with pytest.raises(InvalidInput):
        judge(judged(child("a", 4)), tables(table({"a": losses(0)})), not_worse_by=-1.0)


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(kind):
    """150 trials: within four standard errors of 95 %; benchmarks/intervals.py measures finely."""
    random, held = np.random.default_rng(5), 0
    for trial in range(150):
        draw = random.normal(1, 1, 50) if kind == "normal" else random.lognormal(-0.5, 1, 50)
        found = simultaneous_intervals(draw[:, None], np.ones(50), draws=400, seed=trial)[0]
        held += found.low <= 1.0 <= found.high
    assert 0.88 <= held / 150 < 1.0


def test_intervals_of_skewed_differences_lean_to_the_long_side():
    skewed = np.random.default_rng(3).lognormal(0, 1, 50)[:, None]
    found = simultaneous_intervals(skewed, np.ones(50), draws=DRAWS)[0]
    assert found.high - found.mean > 1.2 * (found.mean - found.low)
    mirrored = simultaneous_intervals(-skewed, np.ones(50), draws=DRAWS)[0]
    assert mirrored.low == pytest.approx(-found.high, rel=1e-9)


def test_no_end_is_nearer_than_students():
    few = np.random.default_rng(7).uniform(-1, 1, 12)[:, None]
    found = simultaneous_intervals(few, np.ones(12), draws=DRAWS)[0]
    margin = student_quantile(0.95, 11) * few.std(ddof=1) / 12**0.5
    assert found.low <= found.mean - margin * (1 - 1e-9)
    assert found.high >= found.mean + margin * (1 - 1e-9)


def test_more_comparisons_widen_every_interval_and_equal_columns_have_none():
    columns = np.stack([losses(0, seed=seed) for seed in range(5)], axis=1)
    alone = pairwise_intervals(columns, np.ones(ROWS), [(0, 1)], draws=DRAWS)[0]
    among = pairwise_intervals(columns, np.ones(ROWS), pairs_of(5), draws=DRAWS)[0]
    assert among.mean == alone.mean
    assert among.high - among.low > 1.1 * (alone.high - alone.low)
    twice = np.stack([columns[:, 0], columns[:, 0]], axis=1)
    same = pairwise_intervals(twice, np.ones(ROWS), [(0, 1)], draws=DRAWS)[0]
    assert (same.low, same.mean, same.high) == (0.0, 0.0, 0.0)


def test_weights_make_the_difference_that_of_losses_over_tokens():
    differences, tokens = np.array([[0.1], [0.5], [-0.2]]), np.array([10.0, 1.0, 4.0])
    found = simultaneous_intervals(differences, tokens)[0]
    assert found.mean == pytest.approx((1.0 + 0.5 - 0.8) / 15)
    assert found.low < found.mean < found.high


def rows(training: list[float], evaluations: dict[int, float]) -> list[MetricsRow]:
    return [
        metrics_row(step, loss=loss, total_steps=len(training), eval_loss=evaluations.get(step))
        for step, loss in enumerate(training, 1)
    ]


def test_stalls_and_early_turning_are_read_from_the_curves():
    flat, falling = [2.0] * 20, [2.0 * 0.95**step for step in range(20)]
    assert read_signs(rows(flat, {})).stalled
    assert not read_signs(rows(falling, {})).stalled
    assert not read_signs(rows([0.01] * 20, {})).stalled
    turned = read_signs(rows(falling, {5: 1.0, 10: 1.01, 20: 1.2}))
    assert (turned.stalled, turned.turned_early) == (False, True)
    assert len(turned.words) == 1
    assert not read_signs(rows(falling, {5: 1.2, 15: 1.0, 20: 1.2})).turned_early
    assert not read_signs(rows(falling, {5: 1.0, 20: 1.2})).turned_early
    assert not read_signs([]).stalled
