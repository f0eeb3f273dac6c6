"""The spec: its defaults, its bounds, and that every problem is reported together."""

import json

import pytest

from lora_engine.errors import InvalidInput, NotFound
from lora_engine.spec import MAX_SPEC_BYTES, MethodSpec, RunSpec, parse_spec, read_spec, spec_from

CONTRACT = """
{"name": "pirate r8", "base_model": "starter",
 "dataset": {"source": "starter:pirate", "format": "auto", "eval_fraction": 0.1},
 "method": {"finetuning_type": "lora", "rank": 8, "alpha": 16, "dropout": 0.0,
            "target_modules": "all-linear", "use_rslora": false, "use_dora": false,
            "init": "default", "loraplus_lr_ratio": null,
            "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": []},
 "quantization": null,
 "optimization": {"learning_rate": 2e-4, "optimizer": "adamw", "schedule": "cosine",
                  "warmup_ratio": 0.03, "epochs": 3, "max_steps": null, "batch_size": 8,
                  "gradient_accumulation": 1, "max_length": 512, "eval_every": 50,
                  "save_every": 50, "early_stopping": null},
 "seed": 0}
"""


def test_the_contracts_spec_is_the_default():
    assert parse_spec(CONTRACT) == RunSpec()


def test_three_errors_are_reported_together_with_their_paths():
    with pytest.raises(InvalidInput) as caught:
        spec_from({"method": {"rank": 0}, "optimization": {"epochs": "three"}, "surprise": 1})
    assert [problem.path for problem in caught.value.problems] == [
        "method.rank",
        "optimization.epochs",
        "surprise",
    ]
    assert "unknown key" in str(caught.value)
    assert "greater than or equal to 1, got 0" in str(caught.value)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("method", "rank", 10**9),
        ("method", "rank", True),
        ("method", "alpha", float("nan")),
        ("method", "target_modules", ["(a+)+$"]),
        ("method", "target_modules", []),
        ("method", "target_modules", ".*"),
        ("method", "rank_pattern", {"(a+)+$": 4}),
        ("dataset", "eval_fraction", 1.0),
        ("optimization", "learning_rate", 10),
        ("optimization", "learning_rate", float("inf")),
        ("optimization", "batch_size", 2.5),
        ("optimization", "max_steps", 0),
    ],
)
def test_a_crossed_bound_or_wrong_type_names_its_field(section, field, value):
    with pytest.raises(InvalidInput) as caught:
        spec_from({section: {field: value}})
    assert all(p.path.startswith(f"{section}.{field}") for p in caught.value.problems)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 201])
def test_a_name_must_be_printable_and_short(name):
    with pytest.raises(InvalidInput, match="name"):
        spec_from({"name": name})


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", "[" * 100_000, "{}" + " " * 10**6])
def test_what_is_no_spec_is_refused(text):
    if len(text) > MAX_SPEC_BYTES or not text.startswith("{}"):
        with pytest.raises(InvalidInput):
            parse_spec(text)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(NotFound, match="no spec file"):
        read_spec(tmp_path / "nowhere.json")


def test_a_rank_pattern_keeps_the_scaling():
    method = spec_from({"method": {"rank": 8, "alpha": 16, "rank_pattern": {"q_proj": 32}}}).method
    assert method.consistent_alpha_pattern() == {"q_proj": 64.0}
    rslora = spec_from(
        {"method": {"rank": 4, "alpha": 8, "use_rslora": True, "rank_pattern": {"q_proj": 16}}}
    ).method
    # alpha / sqrt(rank) is 4 on both sides: 8/sqrt(4) and 16/sqrt(16).
    assert rslora.consistent_alpha_pattern() == {"q_proj": 16.0}


def test_an_alpha_pattern_given_by_hand_wins():
    method = spec_from(
        {"method": {"rank_pattern": {"q_proj": 32}, "alpha_pattern": {"q_proj": 5}}}
    ).method
    assert method.consistent_alpha_pattern() == {"q_proj": 5.0}


@pytest.mark.parametrize(
    ("rank_pattern", "alpha_pattern", "completed"),
    [
        (
            {"q_proj": 6},
            {"layers.0.self_attn.q_proj": 3.0},
            [("layers.0.self_attn.q_proj", 3.0), ("q_proj", 12.0)],
        ),
        ({"q_proj": 6}, {"self_attn.q_proj": 3.0}, [("self_attn.q_proj", 3.0), ("q_proj", 12.0)]),
        ({"layers.0.self_attn.q_proj": 2}, {"q_proj": 16.0}, [("q_proj", 16.0)]),
        ({"eq_proj": 2}, {"q_proj": 16.0}, [("q_proj", 16.0), ("eq_proj", 4.0)]),
    ],
)
def test_an_alpha_pattern_given_by_hand_stands_first(rank_pattern, alpha_pattern, completed):
    method = MethodSpec(rank=4, alpha=8, rank_pattern=rank_pattern, alpha_pattern=alpha_pattern)
    assert list(method.consistent_alpha_pattern().items()) == completed


def test_every_field_has_a_label_and_a_help_text():
    def fields(model):
        for field in model.model_fields.values():
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                yield from fields(inner)
            else:
                yield field

    for field in fields(RunSpec):
        assert field.title, field
        assert field.description, field


def test_json_round_trip():
    spec = spec_from({"method": {"target_modules": ["q_proj", "v_proj"]}, "quantization": {}})
    assert parse_spec(json.dumps(spec.model_dump(mode="json"))) == spec


@pytest.mark.parametrize(
    ("method", "alpha"),
    [
        ({}, 16.0),
        ({"rank": 4}, 8.0),
        ({"rank": 64, "alpha": None}, 128.0),
        ({"alpha": None}, 16.0),
        ({"rank": 4, "alpha": 5.0}, 5.0),
        ({"rank": 4096}, 8192.0),
    ],
)
def test_an_alpha_that_is_null_or_left_out_is_twice_the_rank(method, alpha):
    spec = spec_from({"method": method})
    assert spec.method.alpha == alpha
    assert spec.model_dump(mode="json")["method"]["alpha"] == alpha


def test_a_rank_out_of_bounds_is_the_only_problem_it_makes():
    with pytest.raises(InvalidInput) as refused:
        spec_from({"method": {"rank": 10**9}})
    assert [problem.path for problem in refused.value.problems] == ["method.rank"]


def test_epochs_may_be_null_where_the_number_of_steps_is_given():
    spec = parse_spec('{"optimization": {"epochs": null, "max_steps": 5}}')
    assert spec.optimization.max_steps == 5
    with pytest.raises(InvalidInput) as refused:
        parse_spec('{"optimization": {"epochs": null}}')
    assert [one.path for one in refused.value.problems] == ["optimization.epochs"]
