"""Mismatches found before adapters are loaded are those that the loaded model would report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_engine.base_models import (
    BaseModel,
    fingerprint,
    load_tokenizer,
    resolve_base_model,
)
from lora_engine.chat_template import template_hash, templates_of
from lora_engine.compare.generate.compatibility import find_mismatches
from lora_engine.engine import Engine


@pytest.fixture
def base(settings) -> BaseModel:
    return resolve_base_model("starter", settings)


def adapter(folder: Path, **provenance: str) -> Path:
    folder.mkdir()
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def test_a_base_and_a_template_are_read_as_the_tokenizer_and_the_check_read_them(
    base: BaseModel, tmp_path: Path
) -> None:
    ours = template_hash(templates_of(load_tokenizer(base)))
    same = adapter(tmp_path / "a", base_fingerprint=fingerprint(base), chat_template_hash=ours)
    found = find_mismatches(base, {"a": same})
    assert found.all == {}

    template = adapter(tmp_path / "b", base_fingerprint=fingerprint(base), chat_template_hash="0")
    other = adapter(tmp_path / "c", base_fingerprint="0", base_model="x", chat_template_hash="0")
    found = find_mismatches(base, {"a": same, "b": template, "c": other})
    assert list(found.other_template) == ["b"]
    assert f"({ours})" in found.other_template["b"]
    assert list(found.other_base) == ["c"]
    assert "another base model (x)" in found.other_base["c"]


def test_nothing_is_said_of_what_cannot_be_read(
    base: BaseModel, settings, tiny_llama: Path, tmp_path: Path
) -> None:
    odd = adapter(tmp_path / "odd", chat_template_hash="0")
    assert find_mismatches(BaseModel("org/not-here", None), {"odd": odd}).all == {}
    assert find_mismatches(base, {"odd": tmp_path / "nothing"}).all == {}
    assert Engine(settings).compare.check_compatibility("no such base", []).all == {}
