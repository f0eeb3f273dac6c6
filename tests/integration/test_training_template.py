"""The chat template goes with the result: what rows were written with is what lies beside it."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from lora_engine.data.templates import default_chat_template
from tests.tiny import CHAT_TEMPLATE, save_tiny_model
from tests.training_runs import tiny_spec, train_here

SHORT = {"optimization": {"max_steps": 1}}


@pytest.fixture
def bare(tmp_path):
    """A base without a chat template."""
    folder = save_tiny_model(tmp_path / "bare")
    for name in ("chat_template.jinja",):
        (folder / name).unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("chat_template", None)
    path.write_text(json.dumps(config))
    assert AutoTokenizer.from_pretrained(folder).chat_template is None
    return folder


def saved(directory, folder="adapter"):
    path = directory.path / folder / "chat_template.jinja"
    provenance = json.loads((directory.path / folder / "provenance.json").read_text())
    return path.read_text() if path.exists() else None, provenance["chat_template"]


def test_an_adapter_has_its_bases_own_template_beside_it(tiny_llama, rows_file, settings, tmp_path):
    directory, _ = train_here(tiny_spec(tiny_llama, rows_file, **SHORT), tmp_path / "r", settings)
    assert saved(directory) == (CHAT_TEMPLATE, "the model's own")


def test_a_base_without_one_gets_the_default_by_name(bare, rows_file, settings, tmp_path):
    directory, _ = train_here(tiny_spec(bare, rows_file, **SHORT), tmp_path / "run", settings)
    assert saved(directory) == (default_chat_template(), "rankscope-default")


def test_a_whole_model_is_saved_with_the_default_to_be_used(bare, rows_file, settings, tmp_path):
    spec = tiny_spec(bare, rows_file, method={"finetuning_type": "full"}, **SHORT)
    directory, _ = train_here(spec, tmp_path / "run", settings)
    tokenizer = AutoTokenizer.from_pretrained(directory.path / "model")
    assert tokenizer.chat_template == default_chat_template()


def test_plain_text_has_no_template(tiny_llama, settings, tmp_path):
    story = tmp_path / "story.txt"
    story.write_text("The sky is blue. " * 400)
    spec = tiny_spec(tiny_llama, story, **SHORT)
    directory, _ = train_here(spec, tmp_path / "run", settings)
    assert saved(directory) == (None, "")
