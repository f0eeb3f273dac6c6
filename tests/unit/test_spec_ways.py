"""The ways to fine-tune as an axis of a sweep: what each makes of a run's spec."""

import pytest

from lora_engine.errors import InvalidInput
from lora_engine.spec import WAYS, SweepSpec, spec_from, suited_learning_rate, sweep_from, way_of
from lora_engine.spec.recipes import recipe_spec


def runs_by_way(run, ways=WAYS) -> dict:
    spec = SweepSpec.model_validate(
        {"name": "task", "run": run.model_dump(exclude_unset=True), "axes": [axis(ways)]}
    )
    return {way_of(child): child for child in spec.children()}


def axis(ways) -> dict:
    return {"path": "method", "values": list(ways)}


def test_every_way_is_a_run_of_its_own():
    runs = runs_by_way(recipe_spec("pirate"))
    assert tuple(runs) == WAYS
    assert [run.name for run in runs.values()] == [f"task · {way}" for way in WAYS]
    assert all(run.report.own_worker for run in runs.values())
    assert {run.dataset.source for run in runs.values()} == {"starter:pirate"}


def test_lora_keeps_its_adapter_and_rate_and_the_others_their_own():
    method = {"rank": 4, "alpha": 4, "target_modules": ["q_proj"], "init": "pissa"}
    run = spec_from({"method": method, "optimization": {"learning_rate": 5e-4}})
    runs = runs_by_way(run)
    for way in ("lora", "qlora", "dora"):
        assert runs[way].method.rank == 4
        assert runs[way].method.init == "pissa"
        assert runs[way].optimization.learning_rate == 5e-4
    assert runs["qlora"].quantization.bits == 4
    assert runs["lora"].quantization is None
    assert runs["loha"].method.rank == 4
    assert runs["loha"].method.target_modules == ["q_proj"]
    assert runs["vera"].method.rank == 256
    assert runs["ia3"].method.target_modules == "all-linear"
    for way in ("full", "prefix", "vera", "loha"):
        assert runs[way].optimization.learning_rate == suited_learning_rate("starter", way)
        assert runs[way].method.init == "default"


def test_a_run_of_another_method_keeps_its_own_fields_and_rate():
    run = spec_from(
        {
            "method": {"finetuning_type": "bottleneck", "bottleneck_size": 12},
            "optimization": {"learning_rate": 7e-4},
            "quantization": {"bits": 8},
        }
    )
    runs = runs_by_way(run)
    assert runs["bottleneck"].method.bottleneck_size == 12
    assert runs["bottleneck"].optimization.learning_rate == 7e-4
    assert runs["bottleneck"].quantization is None
    assert runs["lora"].optimization.learning_rate == suited_learning_rate("starter", "lora")


def test_what_is_no_way_is_refused():
    for values in (["lora", "galore"], [3], [None]):
        with pytest.raises(InvalidInput) as refused:
            sweep_from({"axes": [axis(values)]})
        assert [one.path for one in refused.value.problems] == ["axes.0"]


def test_a_rate_that_varies_too_is_each_run_s_own():
    rates = {"path": "optimization.learning_rate", "values": [1e-4, 1e-3]}
    spec = sweep_from({"axes": [axis(["lora", "prefix"]), rates]})
    found = [(way_of(one), one.optimization.learning_rate) for one in spec.children()]
    assert found == [("lora", 1e-4), ("lora", 1e-3), ("prefix", 1e-4), ("prefix", 1e-3)]
