"""The spec of a sweep: its grid, the names of its runs, the rule for alpha, and what is refused."""

import json

import pytest

from lora_engine.errors import InvalidInput
from lora_engine.spec import (
    DEFAULT_RANKS,
    MAX_CHILDREN,
    VARIABLE_PATHS,
    RunSpec,
    parse_sweep,
    spec_from,
    sweep_from,
    sweep_over,
)


def sweep(axes, **rest):
    listed = [{"path": path, "values": values} for path, values in axes.items()]
    return sweep_from({"name": "pirate", "axes": listed, **rest})


def refusals(axes, **rest):
    with pytest.raises(InvalidInput) as caught:
        sweep(axes, **rest).children()
    return {problem.path: problem.message for problem in caught.value.problems}


def test_the_usual_sweep_is_the_default_ranks_under_the_runs_name():
    spec = sweep_over(spec_from({"name": "pirate r8"}))
    assert spec.name == "pirate"
    assert [child.method.rank for child in spec.children()] == list(DEFAULT_RANKS)
    assert [child.name for child in spec.children()][:2] == ["pirate r4", "pirate r8"]


def test_a_run_is_made_for_each_combination_and_named_by_what_varies():
    spec = sweep_over(RunSpec(), ranks=[4, 8], learning_rates=[1e-3, 3e-4, 0.02], seeds=[0, 1])
    children = spec.children()
    assert len(children) == 12
    assert children[0].name == "pirate r4 · lr 1e-3 · seed 0"
    assert children[3].name == "pirate r4 · lr 3e-4 · seed 1"
    assert children[-1].name == "pirate r8 · lr 0.02 · seed 1"
    grid = {(c.method.rank, c.optimization.learning_rate, c.seed) for c in children}
    assert len(grid) == 12


def test_a_sweep_that_keeps_the_rank_keeps_the_runs_name():
    spec = sweep_over(RunSpec(), seeds=[0, 1], others={"method.dropout": [0, 0.1]})
    assert spec.name == "pirate r8"
    assert spec.children()[-1].name == "pirate r8 · seed 1 · dropout 0.1"


@pytest.mark.parametrize(
    ("method", "alphas"),
    [
        ({}, [8.0, 32.0]),
        ({"rank": 8}, [8.0, 32.0]),
        ({"rank": 8, "alpha": None}, [8.0, 32.0]),
        ({"rank": 8, "alpha": 8}, [4.0, 16.0]),
        ({"rank": 8, "alpha": 16, "use_rslora": True}, [8.0, 32.0]),
    ],
)
def test_alpha_over_rank_stays_that_of_the_template(method, alphas):
    spec = sweep({"method.rank": [4, 16]}, run={"method": method})
    assert [child.method.alpha for child in spec.children()] == alphas


def test_an_alpha_that_varies_itself_is_what_it_says():
    spec = sweep({"method.rank": [4, 16], "method.alpha": [16, 32.5]})
    assert [c.method.alpha for c in spec.children()] == [16, 32.5, 16, 32.5]
    # null is 2 · rank, as in every spec
    assert [c.method.alpha for c in sweep({"method.alpha": [None, 3]}).children()] == [16, 3]


def test_a_child_leaves_out_what_the_template_leaves_out():
    spec = sweep({"seed": [0, 1]}, run={"method": {"init_from": "mine"}})
    assert spec.children()[1].method.model_fields_set == {"init_from"}


def test_any_field_may_vary_whole_sections_that_may_be_null_too():
    four_bit = {"bits": 4, "type": "nf4", "double": True}
    spec = sweep(
        {
            "quantization": [None, four_bit],
            "method.target_modules": ["all-linear", ["q_proj", "v_proj"]],
            "method.use_dora": [False, True],
            "dataset.source": ["starter:pirate", "/data/" + "long/" * 20 + "rows.jsonl"],
        }
    )
    children = spec.children()
    assert len(children) == 16
    assert [child.quantization is None for child in children] == [True] * 8 + [False] * 8
    assert children[6].name.startswith(
        "pirate · quantization null · target modules q_proj,v_proj · "
    )
    assert children[1].name.endswith("long/long/rows.jsonl")
    assert all(len(child.name) <= 200 for child in children)


@pytest.mark.parametrize(
    "path", ["name", "task", "report.samples", "report", "extended_from.steps", "optimization"]
)
def test_what_is_the_same_for_all_runs_is_no_field_to_vary(path):
    assert path not in VARIABLE_PATHS
    assert list(refusals({path: ["a"]})) == ["axes.0.path"]


def test_an_unknown_field_is_refused_with_those_like_it():
    assert "method.lora_bias" in refusals({"method.bias_on": [1]})["axes.0.path"]


def test_empty_grids_and_huge_ones_are_refused():
    assert list(refusals({})) == ["axes"]
    assert list(refusals({"seed": []})) == ["axes.0.values"]
    many = refusals({"seed": list(range(100)), "method.rank": list(range(1, 101))})
    assert "10,000" in many["axes"]
    assert str(MAX_CHILDREN) in many["axes"]
    assert list(refusals({"seed": list(range(10_000))})) == ["axes.0.values"]
    assert len(sweep({"seed": list(range(MAX_CHILDREN))}).children()) == MAX_CHILDREN


@pytest.mark.parametrize("values", [[4, 8, 4], [4, 4.0], [None, None], [["a"], ["a"]]])
def test_a_value_stands_once(values):
    assert list(refusals({"method.rank": values})) == ["axes.0.values"]


def test_a_field_stands_on_one_axis():
    axes = [{"path": "seed", "values": [0]}, {"path": "seed", "values": [1]}]
    with pytest.raises(InvalidInput, match="two axes"):
        sweep_from({"axes": axes})


def test_bad_values_of_all_runs_are_reported_together_each_once():
    problems = refusals(
        {"method.rank": [4, 0, 9999, "eight"], "optimization.learning_rate": [1e-3, 5, 7]}
    )
    assert set(problems) == {"method.rank", "optimization.learning_rate"}
    with pytest.raises(InvalidInput) as caught:
        sweep({"method.rank": [4, 0, 9999], "seed": [0, -1]}).children()
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("kind", "path", "values"),
    [
        ("full", "method.rank", [4, 8]),
        ("freeze", "method.dropout", [0.0, 0.1]),
        ("galore", "method.alpha", [4, 8]),
        ("lora", "method.rank", None),
        ("galore", "method.rank", None),
        ("freeze", "method.freeze_layers", None),
    ],
)
def test_a_field_that_the_method_does_not_use_cannot_make_a_difference(kind, path, values):
    run = {"method": {"finetuning_type": kind}}
    if values is None:
        assert len(sweep({path: [1, 2]}, run=run).children()) == 2
    else:
        assert kind in refusals({path: values}, run=run)[path]


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 101])
def test_a_name_must_be_printable_and_short(name):
    with pytest.raises(InvalidInput) as caught:
        sweep_from({"name": name})
    assert [problem.path for problem in caught.value.problems] == ["name"]


def test_a_sweep_starts_anew():
    extended = {"extended_from": {"run": "one", "step": 1, "steps": 2}}
    with pytest.raises(InvalidInput, match="extended_from"):
        sweep({"seed": [0]}, run=extended)


def test_a_sweep_comes_back_from_json_as_it_was():
    spec = sweep({"seed": [0, 1]}, run={"method": {"init_from": "mine"}}, stop_worse=True)
    again = parse_sweep(spec.model_dump_json(exclude_unset=True))
    assert again == spec
    assert again.children() == spec.children()
    assert again.children()[0].method.model_fields_set == {"init_from"}


@pytest.mark.parametrize("text", ["{", json.dumps({"axis": []}), "[]", "[" * 100_000, "7"])
def test_what_is_no_sweep_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_sweep(text)
