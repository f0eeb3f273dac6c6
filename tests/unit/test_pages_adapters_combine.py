"""What the combine tab asks of the engine, and what it makes of the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_engine.adapter_operations import (
    LossesBeside,
    ModuleInterference,
    PredictedInterference,
    RowsMeasured,
    SourceInterference,
    WeightedAdapter,
)
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.compare.scoring import RowLoss
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.starter import MODEL_DIR
from pages.adapters.combine_view import collisions_html, effects_value, meetings_value
from pages.adapters.combine_work import (
    Mixture,
    beside,
    combine_endpoint,
    combining,
    mixture,
    other_choices,
    trial_name,
    trying,
    weighted,
)
from tests.compare_models import save_adapter

A, B = WeightedAdapter(Path("/x/a"), 1.0), WeightedAdapter(Path("/x/b"), -2.0)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Two adapters of the starter, and one that says it belongs to another base."""
    data = tmp_path_factory.mktemp("combine")
    base = BaseModel("starter", MODEL_DIR)
    for seed, name in enumerate(("other", "json", "pirate"), 1):
        folder = save_adapter(data / "adapters" / name, base, seed=seed, r=2, lora_alpha=2)
        is_other = name == "other"
        provenance = {
            "base_model": "another" if is_other else "starter",
            "base_fingerprint": "0" * 64 if is_other else fingerprint(base),
        }
        (folder / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    return Engine(Settings(data_dir=data, models_dir=data / "models", device="cpu"))


def key(engine: Engine, name: str) -> str:
    return str(engine.adapters.get(name).path)


def both(engine: Engine) -> tuple[WeightedAdapter, ...]:
    return weighted([key(engine, "pirate"), key(engine, "json")], [0.7, 0.3, 1.0, 1.0])


def test_adapters_take_their_weights_in_turn() -> None:
    assert weighted(["/x/a", "/x/b"], [1.0, -2.0, 1.0, 1.0]) == (A, B)


@pytest.mark.parametrize(
    ("keys", "weights", "said"),
    [
        (["/x/a"], [1.0], "is 1;"),
        ([], [], "is 0;"),
        (["/x/a"] * 5, [1.0] * 5, "is 5;"),
        (["/x/a", "/x/b"], [1.0, None], "weight of b"),
    ],
)
def test_one_alone_too_many_or_no_weight_is_refused(keys, weights, said) -> None:
    with pytest.raises(EngineError) as refused:
        weighted(keys, weights)
    assert said in refused.value.problem


def test_the_exact_sum_has_no_density_and_rank_0_reduces_nothing() -> None:
    assert mixture((A, B), "exact", 0.5, 0, 0) == Mixture((A, B), "exact", None, 0, None)
    assert mixture((A, B), "dare_ties", 0.5, 7.0, 8.0) == Mixture((A, B), "dare_ties", 0.5, 7, 8)
    for seed, rank in ((0.5, 0), (0, 2.5)):
        with pytest.raises(EngineError):
            mixture((A, B), "exact", None, seed, rank)


def test_compare_takes_the_heaviest_sources_and_what_was_made() -> None:
    c = WeightedAdapter(Path("/x/c"), 0.1)
    assert beside((c, A, B), Path("/made")) == ["/x/a", "/x/b", "/made"]
    assert beside((A, c), Path("/made")) == ["/x/a", "/x/c", "/made"]


def test_the_same_base_comes_first_and_another_is_named(engine: Engine) -> None:
    choices = other_choices(engine, engine.adapters.get("pirate"))
    bundled = "starter:pirate-adapter (rank 8)"
    assert [label for label, _ in choices] == [
        "json (rank 2)", bundled, "other (rank 2, of another)",
    ]  # fmt: skip
    assert choices[0][1] == key(engine, "json")


def test_a_trial_is_called_by_its_adapters_and_weights(engine: Engine) -> None:
    assert trial_name(engine, both(engine)) == "pirate-0.7-json-0.3"
    done = trying(engine, mixture(both(engine), "exact", None, 0, 3))(_no_progress, StopSignal())
    assert (done.path.name, done.rank) == ("pirate-0.7-json-0.3", 3)
    assert engine.adapters.get(str(done.path)).base_model == "starter"
    assert "pirate-0.7-json-0.3" not in {one.name for one in engine.adapters.list()}


def test_what_is_stopped_leaves_nothing(engine: Engine) -> None:
    stop = StopSignal()
    stop.set()
    output = engine.adapter_operations.adapter_folder("stopped")
    asked = mixture(both(engine), "exact", None, 0, 0)
    trials = output.parents[1] / "trials"
    before = {path.parent for path in trials.glob("*/*")}
    for work in (combining(engine, asked, output, False), trying(engine, asked)):
        with pytest.raises(Stopped):
            work(_no_progress, stop)
    assert not output.exists()
    assert not trials.is_dir() or set(trials.iterdir()) == before


def test_the_endpoint_answers_as_the_command_does(engine: Engine) -> None:
    combine = combine_endpoint(engine)
    document = combine(["pirate", "json"], "both", weights=[0.7, 0.3], rank=3, interference=True)
    assert {one["rank"] for one in document["modules"]} == {3}
    assert document["error"] > 0
    assert len(document["interference"]["sources"]) == 2
    assert document["path"] == str(engine.adapter_operations.adapter_folder("both"))
    json.dumps(document)
    for wrong in (
        {"name": "both"},  # it exists
        {"name": "new", "weights": [1.0]},
        {"name": "new", "adapters": ["pirate", "other"]},  # another base
        {"name": "new", "method": "ties"},  # no density
        {"name": "new", "seed": -1, "method": "dare_ties", "density": 0.5},
        {"name": "../new"},
    ):
        with pytest.raises(EngineError):
            combine(**{"adapters": ["pirate", "json"], **wrong})
    assert not engine.adapter_operations.adapter_folder("new").exists()
    assert combine(["pirate", "json"], "both", overwrite=True)["rank"] == 4


def test_each_adapter_has_its_prediction_beside_its_measure() -> None:
    rows = tuple(RowLoss(n, 4, {"/x/a": 1.0, "/x/b": 2.0, "both": 1.5 + n}) for n in range(2))
    found = LossesBeside((RowsMeasured("/x/a", (), rows), RowsMeasured(None, (), rows)), ())
    met = PredictedInterference(
        (),
        (SourceInterference("a", 0.25, 0.5, 0.3), SourceInterference("b", 0.75, 0.5, 0.3)),
        0.7, 0.5, 0.3, 0,
    )  # fmt: skip

    value = json.loads(effects_value((A, B), "both", met, found, {"/x/a": "a", "/x/b": "b"}))

    first, second = (dict(zip(_labels(value), row["raw"], strict=True)) for row in value["rows"])
    assert (first["adapter"], first["weight"], first["overlap"]) == ("a", 1.0, 0.25)
    assert (first["alone"], first["combined"]) == (1.0, 2.0)
    assert first["its loss changes by"] == 1.0
    assert first["95 % from"] < 1.0 < first["95 % to"]
    assert first["general loss changes by"] == 1.0
    assert (second["overlap"], second["alone"], second["combined"]) == (0.75, None, None)
    assert second["general loss changes by"] == 0.0


def test_where_nothing_meets_nothing_collides() -> None:
    apart = PredictedInterference((), (), 0.0, 0.0, 0.0, 8)
    assert "nothing can collide" in collisions_html(apart, "a × 1 + <b> × 1")
    assert "<b>" not in collisions_html(apart, "a × 1 + <b> × 1")
    module = ModuleInterference("q", "a", "b", 0.5, 0.5, 0.01, -0.9, 0.9, 0.8, 1.0, "oppose")
    against = PredictedInterference((module,), (), 0.5, 0.9, 0.8, 0)
    assert "pull against each other" in collisions_html(against, "a")


def test_adapters_that_meet_are_called_as_on_the_page() -> None:
    module = ModuleInterference(
        "q", "id-2", "id-1", 0.5, 0.5, 0.01, 0.9, 0.1, 0.1, 1.0, "reinforce"
    )
    sources = tuple(SourceInterference(name, 0.5, 0.1, 0.1) for name in ("id-1", "id-2"))
    met = PredictedInterference((module,), sources, 0.5, 0.1, 0.1, 0)
    value = json.loads(meetings_value(met, ["pirate r8", "json r8"]))
    row = dict(zip(_labels(value), value["rows"][0]["raw"], strict=True))
    assert (row["first"], row["second"]) == ("json r8", "pirate r8")


def _labels(value: dict) -> list[str]:
    return [column["label"] for column in value["columns"]]


def _no_progress(share: float, doing: str) -> None:
    """Nobody watches."""
