"""Model folders that cost far more than they weigh: every way in refuses them in words, and what
is costly about them is done in a guarded process."""

import json
import os

import pytest

from lora_engine.base_models import (
    config_cost,
    load_base_model,
    load_tokenizer,
    resolve_base_model,
    tokenizer_files,
)
from lora_engine.calculator import config_source, count_model
from lora_engine.calculator.model_source import given_config
from lora_engine.calculator.named_model import named_source
from lora_engine.data import templates
from lora_engine.data.template_check import template_in
from lora_engine.errors import EngineError
from lora_engine.spec import MethodSpec
from lora_engine.training.preflight import check_run
from tests.faults import hostile_models
from tests.faults.hostile_models import CONFIGS, HOSTILE, LARGE, TEMPLATES, TOKENIZERS
from tests.training_runs import tiny_spec

LARGE_VOCABULARIES = [name for name in TOKENIZERS if "words" in name]


@pytest.fixture
def made(tmp_path):
    """A folder of the case's name."""

    def make(case):
        folder = tmp_path / "model"
        hostile_models.copy_starter(folder)
        HOSTILE[case](folder)
        return folder

    return make


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """Less time and memory than a person's files get: the test need not wait for it."""
    monkeypatch.setattr(tokenizer_files, "TRIAL_SECONDS", 0.7)
    monkeypatch.setattr(tokenizer_files, "TRIAL_MEMORY_BYTES", 128 << 20)
    monkeypatch.setattr(templates, "RENDER_CPU_S", 0.3)
    monkeypatch.setattr(config_cost, "TRIAL_SECONDS", 2)


def refusal(call, *arguments):
    """The EngineError that it raises."""
    with pytest.raises(EngineError) as caught:
        call(*arguments)
    assert all((caught.value.problem, caught.value.remedy))
    return caught.value


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config(case, made, settings, rows_file):
    folder = made(case)

    def uploaded():
        given = json.loads(given_config(folder / "config.json"))
        return count_model(config_source(given), MethodSpec(rank=2))

    refusal(uploaded)
    refusal(lambda: count_model(named_source(str(folder), settings), MethodSpec(rank=2)))
    refusal(resolve_base_model, str(folder), settings)
    refusal(check_run, tiny_spec(folder, rows_file), settings)


@pytest.mark.parametrize("case", LARGE)
def test_sizes_that_would_fill_the_machine(case, made, settings):
    folder = made(case)

    def loaded():
        import torch

        load_base_model(resolve_base_model(str(folder), settings), "cpu", torch.float32)

    refusal(loaded)


@pytest.mark.parametrize("case", [name for name in TOKENIZERS if name not in LARGE_VOCABULARIES])
def test_a_tokenizer(case, made, settings, rows_file):
    folder = made(case)
    assert "/model/" in refusal(check_run, tiny_spec(folder, rows_file), settings).problem
    refusal(load_tokenizer, resolve_base_model(str(folder), settings))


def test_a_vocabulary_without_end(made, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "TRIAL_SECONDS", 4)  # it is the memory that ends it
    folder = made("a pattern that never ends")
    hostile_models.vocabulary(100_000)(folder)
    tokenizer_files.check_tokenizer_files(folder)
    # Some 90 MiB of words: what the guard's process has free already does not hold them.
    hostile_models.vocabulary(800_001)(folder)
    monkeypatch.setattr(tokenizer_files, "TRIAL_MEMORY_BYTES", 8 << 20)
    assert "8 MiB" in refusal(tokenizer_files.check_tokenizer_files, folder).problem
    monkeypatch.setattr(tokenizer_files, "MAX_BYTES", 1 << 20)
    assert "1 MiB" in refusal(tokenizer_files.check_tokenizer_files, folder).problem


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template(case, made, settings, rows_file):
    folder = made(case)
    refusal(check_run, tiny_spec(folder, rows_file), settings)


def test_good_folders_pass_and_are_tried_once(made, settings, rows_file, monkeypatch):
    folder = made("negative")
    hostile_models.config(hidden_size=256)(folder)
    check_run(tiny_spec(folder, rows_file), settings)
    asked = []
    monkeypatch.setattr(tokenizer_files, "run_guarded", lambda *_, **__: asked.append(1))
    load_tokenizer(resolve_base_model(str(folder), settings))
    assert asked == []
    os.utime(folder / "tokenizer.json", ns=(1, 1))
    load_tokenizer(resolve_base_model(str(folder), settings))
    assert asked == [1]


def test_common_models_are_not_tried(monkeypatch, settings, made):
    monkeypatch.setattr(config_cost, "run_guarded", lambda *_, **__: pytest.fail("tried"))
    folder = made("negative")
    hostile_models.config(hidden_size=256, num_hidden_layers=128)(folder)
    assert resolve_base_model(str(folder), settings)
    assert template_in(folder)
