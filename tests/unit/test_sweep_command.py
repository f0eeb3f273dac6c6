"""The command `sweep`: how its options become axes, and what it refuses before anything exists."""

import json

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.cli.sweep import _axes
from lora_engine.errors import EngineError
from lora_engine.spec import listed_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("4, 8", [4, 8]),
        ("1e-3,3e-4", [1e-3, 3e-4]),
        ("pissa,default", ["pissa", "default"]),
        ("null,pissa", [None, "pissa"]),
        ('all-linear,"a"', ["all-linear", "a"]),
        ('["q_proj","v_proj"],"all-linear"', [["q_proj", "v_proj"], "all-linear"]),
    ],
)
def test_values_are_json_where_they_can_be_else_words(text, values):
    assert listed_values(text) == values


def test_each_other_field_is_an_axis():
    assert _axes(["method.dropout=0,0.1", "base_model=a=b"]) == {
        "method.dropout": [0, 0.1],
        "base_model": ["a=b"],
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--ranks", "4,x"], "method.rank"),
        (["--ranks", "4,,8"], "method.rank"),
        (["--seeds", ",".join(map(str, range(300)))], "200"),
        (["--vary", "method.rank"], "--vary"),
        (["--vary", "seed=1", "--vary", "seed=2"], "--vary"),
        (["--vary", "name=a,b"], "name"),
        (["--vary", "task=causal_lm,token_classification"], "task"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_in_words(tmp_path, monkeypatch, arguments, named):
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path / "data"))
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"name": "tiny"}))
    done = CliRunner().invoke(build(), ["sweep", str(spec), *arguments])
    assert isinstance(done.exception, EngineError)
    assert named in str(done.exception)
    assert done.stdout == ""
    runs = tmp_path / "data" / "runs"
    assert not runs.exists() or not any(runs.iterdir())
