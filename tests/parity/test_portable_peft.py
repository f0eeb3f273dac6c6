"""A portable adapter gives plain PEFT the same update from `r` and `lora_alpha` alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lora_engine.errors import EngineError
from lora_engine.export import portable, where_it_loads
from tests.operated_adapters import (
    FORMS,
    config_of,
    loaded,
    logits,
    save_adapter,
    save_form,
    updates,
)

pytestmark = pytest.mark.filterwarnings("ignore")
REFUSED = {
    "embedding": "embed_tokens",
    "lora bias": "biases of lora_B",
    "whole modules": "modules saved whole",
    "biases": "biases of the base",
    "fused experts": "fused experts",
}
HELD = sorted(set(FORMS) - set(REFUSED))


@pytest.mark.parametrize("form", HELD)
def test_peft_computes_the_same_update(tmp_path, form):
    architecture = FORMS[form][0]
    source = save_form(form, tmp_path / "source")
    report = portable(source, tmp_path / "out")
    before, after = updates(source, architecture), updates(tmp_path / "out", architecture)
    assert set(before) == set(after)
    for name, update in before.items():
        np.testing.assert_allclose(after[name], update, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        logits(loaded(tmp_path / "out", architecture)), logits(loaded(source, architecture))
    )
    config = config_of(tmp_path / "out")
    assert config["r"] == config["lora_alpha"] == report.rank
    assert isinstance(config["lora_alpha"], int)
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({}, {})
    assert not config["use_rslora"]
    assert report.error < 1e-12


@pytest.mark.parametrize("form", sorted(REFUSED))
def test_what_a_plain_adapter_cannot_say_is_refused_by_name(tmp_path, form):
    source = save_form(form, tmp_path / "source")
    with pytest.raises(EngineError) as refused:
        portable(source, tmp_path / "out")
    assert REFUSED[form] in refused.value.problem
    # a base without biases has no place for them, so merging does not always help
    assert ("as adapter" in refused.value.remedy) == (form == "lora bias")
    assert not (tmp_path / "out").exists()


def test_dora_is_refused(tmp_path):
    source = save_adapter(tmp_path / "source", use_dora=True)
    with pytest.raises(EngineError) as refused:
        portable(source, tmp_path / "out")
    assert "DoRA" in refused.value.problem


def test_factors_that_bfloat16_would_round_are_stored_in_float32(tmp_path):
    source = save_adapter(tmp_path / "source", dtype=torch.bfloat16, lora_alpha=7)
    report = portable(source, tmp_path / "out")
    assert report.widened == report.modules == 6
    assert report.error < 1e-7
    exact = save_adapter(tmp_path / "exact", dtype=torch.bfloat16, lora_alpha=12)
    assert portable(exact, tmp_path / "same").widened == 0  # a scaling of 2 loses nothing


def test_every_program_reads_a_portable_adapter_of_a_llama(tmp_path):
    portable(save_form("rslora, patterns", tmp_path / "source"), tmp_path / "out")
    rules = where_it_loads(tmp_path / "out", "llama")
    assert {rule.program: rule.loads for rule in rules} == dict.fromkeys(
        ("PEFT", "vLLM", "llama.cpp", "Ollama", "TGI"), True
    )
    assert all(rule.source and rule.date for rule in rules)


@pytest.mark.parametrize(
    ("form", "refusing"),
    [
        ("plain", {"Ollama"}),  # lora_alpha 9.5 is no whole number
        ("rslora", {"llama.cpp", "Ollama"}),
        ("patterns", {"vLLM", "llama.cpp", "Ollama", "TGI"}),
        ("whole modules", {"vLLM", "llama.cpp", "Ollama", "TGI"}),
        ("lora bias", {"vLLM", "llama.cpp", "Ollama", "TGI"}),
        ("layers", {"TGI"}),
        ("embedding", {"llama.cpp", "Ollama", "TGI"}),
    ],
)
def test_the_rules_say_who_would_compute_something_else(tmp_path, form, refusing):
    settings = {"lora_alpha": 9.5} if form == "plain" else {}
    source = save_form(form, tmp_path / "source", **settings)
    rules = where_it_loads(source, "llama")
    assert {rule.program for rule in rules if not rule.loads} == refusing


def test_ollama_takes_an_alpha_that_is_written_as_an_integer(tmp_path):
    source = save_form("plain", tmp_path / "source", lora_alpha=9)
    rules = {rule.program: rule for rule in where_it_loads(source, "llama")}
    assert rules["Ollama"].loads
    path = source / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 9.0}))
    rules = {rule.program: rule for rule in where_it_loads(source, "llama")}
    assert (rules["Ollama"].loads, rules["Ollama"].instead) == (False, "portable")
    assert "9.0" in rules["Ollama"].reason
    portable(source, tmp_path / "out")
    assert all(rule.loads for rule in where_it_loads(tmp_path / "out", "llama"))


def test_ollama_reads_adapters_of_two_architectures(tmp_path):
    source = save_form("plain", tmp_path / "source")
    by_type = {
        kind: {rule.program: rule for rule in where_it_loads(source, kind)}["Ollama"]
        for kind in ("llama", "gemma2", "qwen2")
    }
    assert [by_type[kind].loads for kind in ("llama", "gemma2", "qwen2")] == [True, True, False]
    assert "qwen2" in by_type["qwen2"].reason


@pytest.mark.parametrize(("rank", "flag"), [(6, "8"), (17, "32"), (300, "320")])
def test_vllm_gets_the_next_rank_it_knows(tmp_path, rank, flag):
    source = save_adapter(tmp_path / "source", r=rank, target_modules=["q_proj"])
    vllm = {rule.program: rule for rule in where_it_loads(source)}["vLLM"]
    assert f"--max-lora-rank {flag}." in vllm.reason


def test_provenance_says_what_was_done(tmp_path):
    portable(save_form("rslora", tmp_path / "source"), tmp_path / "out")
    operation = json.loads((tmp_path / "out" / "provenance.json").read_text())["operation"]
    assert operation["kind"] == "portable"
    assert operation["sources"][0]["sha256"]
