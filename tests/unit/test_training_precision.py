"""What precision auto means: on a card what it has, on a processor bfloat16 where that pays."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from lora_engine.base_models import STARTER, BaseModel
from lora_engine.run_folder import RunDirectory
from lora_engine.spec import spec_from
from lora_engine.starter import MODEL_DIR
from lora_engine.training import precision
from lora_engine.training.precision import (
    FILE,
    KeptPrecision,
    precision_of,
    precision_of_begun_run,
    precision_of_run,
    read_precision,
)

GRPO = {"kind": "grpo", "rules": [{"kind": "json_valid"}]}
THE_STARTER = BaseModel(STARTER, MODEL_DIR)
AUTO = spec_from({})


@pytest.mark.parametrize(
    ("has_bfloat16", "document", "expected"),
    [
        (True, {}, "bfloat16"),
        (False, {}, "float16"),
        (False, {"method": {"finetuning_type": "full"}}, "float16"),
        (False, {"task": "sequence_classification"}, "float32"),
        (False, {"objective": GRPO}, "float32"),
        (False, {"optimization": {"stream_base": True}}, "float32"),
        (False, {"optimization": {"precision": "bfloat16"}}, "bfloat16"),
    ],
)
def test_auto_on_a_card(monkeypatch, has_bfloat16, document, expected):
    def is_supported(including_emulation=True):
        return including_emulation or has_bfloat16  # a T4 emulates it

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert precision_of(spec_from(document), "cuda", THE_STARTER) == expected


@pytest.fixture
def processor(monkeypatch):
    """Sets whether the processor multiplies bfloat16, which it does; any base is large enough."""

    def sets(is_fast: bool) -> None:
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: is_fast)

    monkeypatch.setattr(precision, "LEAST_NUMBERS", 1)
    sets(True)
    return sets


@pytest.fixture
def base(tmp_path):
    """Makes a base whose tensors have these formats."""

    def make(*dtypes, model_type="llama") -> BaseModel:
        folder = tmp_path / f"base-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        tensors = {f"layers.{i}.weight": torch.ones(2, 2, dtype=d) for i, d in enumerate(dtypes)}
        tensors["rotary_emb.inv_freq"] = torch.ones(2)
        save_file(tensors, folder / "model.safetensors")
        return BaseModel("base", folder)

    return make


@pytest.fixture
def run(tmp_path):
    def make(name) -> RunDirectory:
        (tmp_path / name).mkdir()
        return RunDirectory(tmp_path / name)

    return make


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "pays"),
        ({"method": {"rank": 64, "init": "eva", "dropout": 0.1}}, "pays"),
        ({"optimization": {"devices": 2}}, "pays"),
        ({"task": "sequence_classification"}, "run"),
        ({"objective": GRPO}, "run"),
        ({"method": {"finetuning_type": "full"}}, "run"),
        ({"method": {"use_dora": True}}, "run"),
        ({"method": {"init": "pissa"}}, "run"),
        ({"method": {"bias": "all"}}, "run"),
        ({"method": {"modules_to_save": ["lm_head"]}}, "run"),
        ({"quantization": {"bits": 4}}, "run"),
        ({"optimization": {"stream_base": True}}, "run"),
    ],
)
def test_which_runs_take_bfloat16_on_a_processor(processor, base, run, document, why):
    spec, stored = spec_from(document), base(torch.bfloat16, torch.bfloat16)
    expected = "bfloat16" if why == "pays" else "float32"
    assert precision_of(spec, "cpu", stored) == expected
    directory = run("run")
    assert precision_of_run(directory, None, spec, "cpu", stored) == expected
    assert read_precision(directory) == KeptPrecision(precision=expected, why=why)
    assert precision_of_begun_run(directory, spec, "cpu", stored) == expected


def test_which_bases_and_processors_have_bfloat16(processor, base, monkeypatch):
    def why(of: BaseModel) -> str | None:
        chosen = precision._choice_on_cpu(AUTO, of)
        assert chosen is None or (chosen.precision == "bfloat16") == (chosen.why == "pays")
        return chosen and chosen.why

    stored = base(torch.bfloat16)
    assert why(base(torch.bfloat16, torch.float32)) == "stored"
    assert why(base(torch.float16)) == "stored"
    assert why(base(torch.bfloat16, model_type="gemma2")) == "model"
    assert why(BaseModel("org/of-the-hub", None)) is None
    assert precision_of(AUTO, "mps", stored) == "float32"
    processor(False)
    assert why(stored) == "processor"
    processor(True)
    monkeypatch.setattr(precision, "LEAST_NUMBERS", 7)
    assert why(stored) is None


def test_the_starter_stays_in_float32_and_nothing_is_kept(monkeypatch, run):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    directory = run("run")
    assert precision_of_run(directory, None, AUTO, "cpu", THE_STARTER) == "float32"
    assert precision_of_begun_run(directory, AUTO, "cpu", THE_STARTER) == "float32"
    assert list(directory.path.iterdir()) == []


@pytest.mark.parametrize("was_fast", [True, False])
def test_a_resumed_or_extended_run_computes_as_it_began(processor, base, run, was_fast):
    stored, first = base(torch.bfloat16), run("first")
    processor(was_fast)
    began = precision_of_run(first, None, AUTO, "cpu", stored)
    assert began == ("bfloat16" if was_fast else "float32")
    processor(not was_fast)  # another machine
    assert precision_of_run(first, None, AUTO, "cpu", stored) == began
    (first.checkpoints_path / "step-5").mkdir(parents=True)
    longer = run("longer")
    assert precision_of_run(longer, first.path, AUTO, "cpu", stored) == began
    assert read_precision(longer) == read_precision(first)
    assert precision_of_run(run("new"), None, AUTO, "cpu", stored) != began


def test_a_run_from_before_there_was_a_choice_goes_on_in_float32(processor, base, run):
    stored, old = base(torch.bfloat16), run("old")
    (old.checkpoints_path / "step-5").mkdir(parents=True)
    assert precision_of_run(old, None, AUTO, "cpu", stored) == "float32"
    assert precision_of_run(run("longer"), old.path, AUTO, "cpu", stored) == "float32"
    (run("chosen").path / FILE).write_text("{}")  # no use, and no step was made
    chosen = RunDirectory(old.path.with_name("chosen"))
    assert precision_of_run(chosen, None, AUTO, "cpu", stored) == "bfloat16"
    assert read_precision(chosen) is not None


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_the_spec_says_is_not_chosen(processor, base, run, asked):
    spec, directory = spec_from({"optimization": {"precision": asked}}), run("run")
    assert precision_of_run(directory, None, spec, "cpu", base(torch.bfloat16)) == asked
    assert read_precision(directory) is None
