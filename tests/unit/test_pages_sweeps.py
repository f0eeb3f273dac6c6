"""The tab of sweeps without a browser: what it shows, escapes and refuses, and its links."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import plotly.graph_objects as go  # noqa: TID251
import pytest

from lora_engine.advisor.children import MissingChild
from lora_engine.advisor.judgement import judge
from lora_engine.advisor.judgement_report import Judgement
from lora_engine.advisor.used_rank import ModuleUse, RunUse, SharedDirections, UsedRank, claim_test
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.runs import RunView, SweepView, supervisor
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import spec_from, sweep_over
from lora_engine.spectrum import ModuleSimilarity
from pages.runs import (
    sweep_content,
    sweep_judgement,
    sweep_judgement_figures,
    sweep_judgement_values,
    sweep_proposals,
    sweep_used_values,
)
from pages.runs.tabs import tab_in_address
from pages.shared import figures
from pages.shared.train_link import copy_address_of, spec_in_address
from tests.judged_runs import child, judged, result, table, tables
from tests.unit.test_pages_figures import _coloured

ATTACK = "<img src=x onerror=alert(1)>"
ROWS = 40


@pytest.fixture
def engine(settings, monkeypatch) -> Engine:
    """An engine that starts nothing."""
    monkeypatch.setattr(supervisor, "list_devices", lambda _: [])
    return Engine(settings)


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    """Rank 8 is as good as 32 and forgets less; rank 2 is worse and slower; a run is missing."""
    random = np.random.default_rng(0)
    difficulty = random.gamma(4.0, 0.5, ROWS)
    columns = {
        name: difficulty + mean + random.normal(0, 0.01, ROWS)
        for name, mean in {"a": 0.5, "b": 0.0, "c": 0.0}.items()
    }
    children = judged(
        child("a", 2, elapsed_s=30.0), child("b", 8), child("c", 32),
        missing=(MissingChild("gone", None, None, None, "deleted", ATTACK),),
    )  # fmt: skip
    general = {name: difficulty + by for name, by in {"a": 0.1, "b": 0.2, "c": 0.9}.items()}
    return judge(children, tables(table(columns), table(general, base=2.0)), draws=500)


def request(address: str) -> SimpleNamespace:
    return SimpleNamespace(query_params=dict(parse_qsl(urlsplit(address).query)))


def test_the_figures_of_a_judgement_have_its_intervals_its_margin_and_its_front(judgement):
    losses = sweep_judgement_figures.losses_figure(judgement)
    forgetting = sweep_judgement_figures.forgetting_figure(judgement)
    fronts = [
        sweep_judgement_figures.pareto_figure(judgement, cost)
        for cost in sweep_judgement_figures.COSTS
    ]
    for figure in (losses, forgetting, *fronts):
        go.Figure(_coloured(json.loads(figures.to_json(figure))))
        assert figure["layout"]["meta"]["description"].endswith(".")
    margin, means, seeds, recommended = losses["data"]
    best = judgement.ranks[-1] if judgement.best_rank == 32 else judgement.ranks[1]
    assert margin["y"][0] == pytest.approx(best.eval_loss + judgement.not_worse_by)
    first = judgement.ranks[0].interval
    assert means["error_y"]["array"][0] == pytest.approx(first.high - first.mean)
    assert means["error_y"]["arrayminus"][0] == pytest.approx(first.mean - first.low)
    assert seeds["y"] == pytest.approx(means["y"])  # one seed each
    assert recommended["x"] == [8]
    seconds = fronts[2]["data"][1]
    assert seconds["marker"]["color"][0] == figures.MUTED  # rank 2: slower and worse
    assert fronts[0]["data"][1]["marker"]["color"][0] == figures.ACCENT  # but the smallest


def test_the_words_of_a_judgement_have_its_evidence_and_escape_what_others_wrote(judgement):
    words = sweep_judgement_values.words_html(judgement)
    assert str(judgement.rows) in words
    assert "missing from this judgement: 1." in words
    assert 'href="/compare?adapter=b"' in words  # rank 8's run
    ranks = json.loads(sweep_judgement_values.ranks_value(judgement))
    assert [row["raw"][0] for row in ranks["rows"]] == [2, 8, 32]
    assert [row["raw"][7] for row in ranks["rows"]] == ["not shown", "yes", "yes"]
    missing = json.loads(sweep_judgement_values.missing_value(judgement))
    assert missing["rows"][0]["raw"][1] == ATTACK  # a table's texts are no markup
    assert missing["links"] == [None]


@pytest.mark.parametrize("text", ["much", "0.1.2", "1 nat"])
def test_a_margin_that_is_no_number_is_refused(text):
    with pytest.raises(EngineError, match="no number"):
        sweep_judgement.margin_in(text)


def test_an_empty_margin_is_the_engines_own():
    assert sweep_judgement.margin_in(" ") is None
    assert sweep_judgement.margin_in("0,02") == 0.02


def test_the_table_of_ranks_has_the_scores_that_there_are(judgement):
    ranks = [replace(one, forgetting=None, accuracy=0.9, f1=0.8) for one in judgement.ranks]
    found = replace(judgement, ranks=tuple(ranks))
    shown = json.loads(sweep_judgement_values.ranks_value(found))
    assert shown["rows"][0]["raw"][-2:] == [0.9, 0.8]
    answered = replace(judgement, ranks=(replace(judgement.ranks[0], answers_equal=0.5),))
    columns = json.loads(sweep_judgement_values.ranks_value(answered))["columns"]
    assert columns[-1]["label"] == "Answers equal"
    assert len(columns) == len(sweep_judgement_values.RANK_COLUMNS) + 1
    assert "even guess" in sweep_judgement_values.words_html(found)
    assert ">0.800<" in sweep_judgement_values.tiles_html(found)
    assert sweep_judgement_figures.forgetting_figure(found) is None


def use(name: str, layer: int | None, rank: int) -> ModuleUse:
    part = name.rpartition(".")[2]
    return ModuleUse(name, layer, part, rank, rank / 2, 1, 2, 3, 0.8, 0.95)


def test_what_was_used_is_drawn_by_layer_and_shared_directions_over_k():
    modules = (use("layers.0.q_proj", 0, 24), use("layers.1.q_proj", 1, 24), use("head", None, 24))
    run = RunUse("b", 24, 1, 12.0, 1, 2, 3, modules)
    phi = np.array([[0.5, 0.4], [0.4, 0.3]])
    similar = ModuleSimilarity("m", phi, 100, 0.1, 1.0, 1.0, 1.0, None)
    pair = SharedDirections("a", "b", "seed", (similar,))
    other = RunUse("a", 24, 0, 12.0, 1, 2, 3, modules)
    used = UsedRank((other, run), (pair,), claim_test(modules))
    heat = sweep_used_values.heat_map(run, "pirate", "effective rank")
    drawn = heat["data"][0]
    assert drawn["x"] == ["0", "1", "other"]
    assert drawn["y"] == ["q_proj", "head"]
    assert drawn["z"] == [[12.0, 12.0, None], [None, None, 12.0]]
    shared = sweep_used_values.pairs_figure(used)
    assert shared["data"][0]["name"] == "rank 24, seeds 0 and 1"
    assert shared["data"][0]["y"] == pytest.approx([0.5, 0.3])
    assert shared["data"][1]["y"] == pytest.approx([0.01, 0.02])  # random directions
    for figure in (heat, shared):
        go.Figure(_coloured(json.loads(figures.to_json(figure))))
    rows = json.loads(sweep_used_values.pairs_value(used, {}))
    assert rows["rows"][0]["raw"] == ["a and b", "seed", 0.5, 0.01, 0.3, 0.02]


def test_a_run_and_another_pattern_of_many_modules_travel_to_train_and_back(engine, settings):
    spec = spec_from({"name": "pirate", "seed": 3, "optimization": {"max_steps": 7}})
    RunStore(settings.database_path).add("a", spec)
    ranks = {f"model.layers.{n}.self_attn.q_proj": 1 + n % 9 for n in range(600)}
    method = spec.method.model_copy(update={"rank": 4, "alpha": 8.0, "rank_pattern": ranks})
    wanted = spec.model_copy(update={"method": method, "name": 'a "b" · é'})
    assert spec_in_address(engine, request(copy_address_of("a", spec, wanted))) == wanted


def sweep_view(spec, *runs: tuple[RunState, str | None]) -> SweepView:
    """A sweep over ranks 2, 4, … whose runs are in these states, stopped for these reasons."""
    sweep = sweep_over(spec, ranks=[2 * (number + 1) for number in range(len(runs))])
    views = []
    for number, ((state, why), one) in enumerate(zip(runs, sweep.children(), strict=True)):
        record = SimpleNamespace(id=f"r{number}", name=one.name, state=state, spec=one)
        ended = result(stopped_because=why) if why else None
        views.append(RunView(record, None, ended))
    return SweepView("s", ATTACK, tuple(views), sweep, 0.0, deleted=("d",))


def test_a_sweep_says_its_states_why_a_run_stopped_and_what_can_be_done():
    view = sweep_view(
        spec_from({}), (RunState.RUNNING, None), (RunState.PAUSED, "worse than r2"),
    )  # fmt: skip
    heading = sweep_content.heading(view)
    assert ATTACK not in heading
    assert "1 running, 1 paused" in heading
    assert "Rank 2, 4" in heading
    shown = json.loads(sweep_content.runs_value(view))
    assert [row["raw"][1] for row in shown["rows"]] == [2, 4]
    assert [row["raw"][-1] for row in shown["rows"]] == [None, "worse than r2"]
    assert shown["links"] == ["/runs?run=r0", "/runs?run=r1"]
    assert sweep_content.possible_actions(view) == {"pause", "cancel", "resume"}
    over = sweep_view(
        spec_from({}), (RunState.FINISHED, None), (RunState.FINISHED, None),
    )  # fmt: skip
    assert sweep_content.possible_actions(over) == {"delete"}
    question = sweep_content.deletion_question(over)
    assert "runs (2)" in question
    assert ATTACK not in question


def test_proposals_start_from_the_largest_finished_rank_at_the_recommended_budget():
    done, going = (RunState.FINISHED, None), (RunState.RUNNING, None)
    view = sweep_view(spec_from({}), done, done, done, going)
    fields = sweep_proposals.ProposalFields(run="run", rank="rank")
    judged_at = {budget: fields.offering(view, budget)["rank"] for budget in (None, 4, 6)}
    assert judged_at == {None: 3, 4: 4, 6: 3}
    assert fields.offering(view)["run"].value == "r2"
    assert [value for _, value in sweep_proposals.choices_in(view)] == ["r0", "r1", "r2"]


@pytest.mark.parametrize("rank", [None, 2.5])
def test_a_budget_that_is_no_whole_rank_is_refused(rank):
    with pytest.raises(EngineError, match="whole rank"):
        sweep_proposals.budget_in(rank)


@pytest.mark.parametrize(
    ("address", "tab"),
    [
        ("/runs", "runs"),
        ("/runs?run=a", "runs"),
        ("/runs?run=a&sweep=s", "runs"),
        ("/runs?sweep=s", "sweeps"),
        ("/runs?tab=sweeps&run=a", "sweeps"),
        ("/runs?tab=elsewhere", "runs"),
    ],
)
def test_the_address_chooses_the_tab(address, tab):
    assert tab_in_address(request(address)) == tab
