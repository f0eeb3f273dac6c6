"""Counts made beforehand are those that PEFT makes; a rank's profile follows from two others."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from lora_engine import calculator
from lora_engine.base_models import STARTER, resolve_base_model
from lora_engine.calculator import prepared, prepared_profiles
from lora_engine.calculator.counts_by_rank import profile_at_rank
from lora_engine.calculator.model_profile import read_profile
from lora_engine.calculator.model_source import path_source
from lora_engine.environment import load_settings
from tests.calculator_requests import NF4, ask, lora

MAKER = Path(__file__).parents[2] / "docs" / "make_prepared_counts.py"
BUNDLED_FOLDER = resolve_base_model(STARTER, load_settings()).path


def test_what_is_stored_is_what_peft_counts() -> None:
    counted = runpy.run_path(str(MAKER))["counted_anew"]()
    assert counted == json.loads(prepared.FILE.read_text("utf-8"))


def test_the_opening_model_is_answered_without_building_it(monkeypatch) -> None:
    def refuse(*_):
        raise AssertionError("a model was built")

    for module in ("model_shape", "count_parameters"):
        monkeypatch.setattr(f"lora_engine.calculator.{module}.build_meta_model", refuse)
    source, method = calculator.preset_source("llama-2-7b"), lora(8, "q,v", alpha=5.0)
    read_profile.__globals__["_profile_of"].cache_clear()
    read_profile.__globals__["_shape_of"].cache_clear()
    assert read_profile(source, method).count.trainable_parameters == 4_194_304
    assert len(calculator.available_modules(source, method)) == 9
    ranks = calculator.counts_at_ranks(source, method, [600])
    assert ranks[0].trainable_parameters == 600 * 524_288


@pytest.mark.parametrize("changed", [{}, {"use_dora": True}, {"rank_pattern": {"c_attn": 3}}])
def test_a_profile_at_a_rank_is_the_one_that_is_counted(changed) -> None:
    source, method = calculator.preset_source("gpt2"), lora(8, "attention", **changed)
    at_rank = method.model_copy(update={"rank": 20})
    told, counted = profile_at_rank(source, method, 20), read_profile(source, at_rank)
    assert told.count == counted.count
    assert told.shape == counted.shape


def test_the_largest_rank_fits_and_one_more_does_not() -> None:
    source = calculator.preset_source("gpt2")
    request = ask(source, lora(8), quantization=NF4)
    limit = calculator.estimate_memory(request).total_gib + 0.3
    rank = calculator.largest_that_fits(request, limit).rank
    assert rank is not None
    assert 8 < rank < 768
    for at, fits in ((rank, True), (rank + 1, False)):
        total = calculator.estimate_memory(ask(source, lora(at), quantization=NF4)).total_gib
        assert (total <= limit) == fits
    assert calculator.largest_that_fits(ask(source, lora(8), kind="full"), 80.0).rank is None


def test_the_stored_profiles_of_the_bundled_base_are_what_peft_counts() -> None:
    anew = runpy.run_path(str(MAKER))["profiles_anew"]()
    assert anew == json.loads(prepared_profiles.FILE.read_text("utf-8"))


def test_a_stored_profile_is_the_one_that_is_counted(monkeypatch) -> None:
    source, method = path_source(BUNDLED_FOLDER), lora(8, "all-linear", alpha=5.0)
    read_profile.__globals__["_profile_of"].cache_clear()
    read_profile.__globals__["_shape_of"].cache_clear()
    stored = read_profile(source, method)
    assert prepared_profiles.count_of(source, method) == stored.count
    read_profile.__globals__["_profile_of"].cache_clear()
    read_profile.__globals__["_shape_of"].cache_clear()
    monkeypatch.setattr(prepared_profiles, "_is_prepared", lambda _: False)
    assert read_profile(source, method) == stored
