"""Classifiers on a tiny random BERT: they learn, are scored, resume exactly, and load with PEFT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from lora_engine.adapters.check import check_adapter
from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.data import preview
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.training.preflight import check_run
from lora_engine.training.reporting.outcome import run_result
from tests.tiny_classifier import THINGS, save_tiny_bert, write_tagged, write_texts
from tests.training_runs import losses, tiny_spec, train_here

STEPS = {"batch_size": 8, "max_steps": 100, "learning_rate": 0.01, "eval_every": 100}


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture
def texts(tmp_path) -> Path:
    return write_texts(tmp_path / "texts.jsonl")


@pytest.fixture
def tagged(tmp_path) -> Path:
    return write_tagged(tmp_path / "tagged.jsonl")


@pytest.mark.parametrize(
    ("task", "auto", "labels"),
    [
        ("sequence_classification", AutoModelForSequenceClassification, ["animal", "plant"]),
        ("token_classification", AutoModelForTokenClassification, ["ANIMAL", "O", "PLANT"]),
    ],
)
def test_an_adapter_and_a_head_learn_and_load_with_peft(
    task, auto, labels, tiny_bert, texts, tagged, settings, tmp_path
):
    rows = texts if task == "sequence_classification" else tagged
    spec = tiny_spec(tiny_bert, rows, task=task, optimization=STEPS)
    check_run(spec, settings)
    directory, position = train_here(spec, tmp_path / "run", settings)
    (last,) = [row for row in directory.metrics() if row.eval_loss is not None]
    assert last.eval_accuracy > 0.95
    assert last.eval_f1 > 0.9
    result = run_result("finished", position, None)
    assert (result.eval_accuracy, result.eval_f1) == (last.eval_accuracy, last.eval_f1)
    assert last.eval_loss < 0.3

    provenance = json.loads((directory.adapter_path / "provenance.json").read_text())
    assert provenance["labels"] == labels
    config = json.loads((directory.adapter_path / "adapter_config.json").read_text())
    assert "classifier" in config["modules_to_save"]
    torch.manual_seed(7)  # another random head, which the adapter's own must replace
    base = auto.from_pretrained(tiny_bert, num_labels=len(labels))
    model = PeftModel.from_pretrained(base, str(directory.adapter_path)).eval()
    tokenizer = load_tokenizer(resolve_base_model(str(tiny_bert), settings))
    with torch.no_grad():
        logits = model(**tokenizer("the old fox sees a", return_tensors="pt")).logits[0]
    told = [labels[i] for i in logits.reshape(-1, len(labels)).argmax(-1).tolist()]
    assert told == ["animal"] if len(labels) == 2 else told[1:-1] == ["O", "O", "ANIMAL", "O", "O"]
    with pytest.raises(EngineError, match="causal language models"):
        check_adapter(directory.adapter_path, resolve_base_model(str(tiny_bert), settings))


def test_a_stopped_classifier_goes_on_exactly(tiny_bert, texts, settings, tmp_path):
    steps = {**STEPS, "max_steps": 8}
    spec = tiny_spec(tiny_bert, texts, task="sequence_classification", optimization=steps)
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    stopped, _ = train_here(
        spec, tmp_path / "again", settings, should_stop=iter([False] * 3 + [True] * 9).__next__
    )
    train_here(spec, stopped.path, settings, resume=True)
    assert losses(stopped) == losses(whole)
    assert len(list(settings.token_cache_dir.glob("*.npz"))) == 1  # of all three


def test_a_classifier_goes_on_from_its_adapter_and_head(tiny_bert, texts, settings, tmp_path):
    steps = {**STEPS, "max_steps": 8}
    task = "sequence_classification"
    first, at_end = train_here(
        tiny_spec(tiny_bert, texts, task=task, optimization=steps), tmp_path / "first", settings
    )
    going_on = tiny_spec(
        tiny_bert,
        texts,
        task=task,
        optimization=steps,
        method={"init_from": str(first.adapter_path)},
    )
    spec = check_run(going_on, settings)
    assert spec.method.modules_to_save == []
    _, progress = train_here(spec, tmp_path / "on", settings)
    assert progress.start_eval_loss == pytest.approx(at_end.last_eval_loss, abs=1e-6)

    other = texts.with_name("other.jsonl")
    other.write_text(texts.read_text().replace("plant", "tree"))
    with pytest.raises(EngineError, match="classes animal, plant; the rows have animal, tree"):
        check_run(
            going_on.model_copy(update={"dataset": tiny_spec(tiny_bert, other).dataset}), settings
        )


def test_an_extended_classifier_is_a_longer_one(tiny_bert, texts, settings):
    optimization = {**STEPS, "schedule": "constant", "warmup_ratio": 0.0, "max_steps": 6}
    task = "sequence_classification"
    spec = tiny_spec(tiny_bert, texts, task=task, optimization={**optimization, "max_steps": 10})
    whole, _ = train_here(spec, settings.runs_dir / "whole", settings)
    spec = tiny_spec(tiny_bert, texts, task=task, optimization=optimization)
    train_here(spec, settings.runs_dir / "first", settings)
    extension = {"run": "first", "step": 6, "steps": 4}
    spec = tiny_spec(
        tiny_bert, texts, task=task, optimization=optimization, extended_from=extension
    )
    more, _ = train_here(spec, settings.runs_dir / "more", settings)
    assert losses(more) == {step: loss for step, loss in losses(whole).items() if step > 6}


def test_the_whole_encoder_can_train(tiny_bert, texts, settings, tmp_path):
    method = {"finetuning_type": "full"}
    spec = tiny_spec(
        tiny_bert,
        texts,
        task="sequence_classification",
        method=method,
        optimization={**STEPS, "max_steps": 12, "learning_rate": 0.003},
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)
    seen = losses(directory)
    assert seen[12] < seen[1]
    saved = AutoModelForSequenceClassification.from_pretrained(directory.path / "model")
    assert saved.config.id2label == {0: "animal", 1: "plant"}


def test_rows_and_task_that_do_not_fit_are_refused_before_the_run(tiny_bert, texts, settings):
    with pytest.raises(EngineError, match="task is causal_lm"):
        check_run(tiny_spec(tiny_bert, texts), settings)
    with pytest.raises(EngineError, match="token_classification"):
        check_run(tiny_spec(tiny_bert, texts, task="token_classification"), settings)
    wrong = {"finetuning_type": "freeze"}
    with pytest.raises(InvalidInput) as refused:
        check_run(
            tiny_spec(tiny_bert, texts, task="sequence_classification", method=wrong), settings
        )
    assert {problem.path for problem in refused.value.problems} == {"method.finetuning_type"}
    one = texts.with_name("one.jsonl")
    one.write_text('{"text": "a dog", "label": "animal"}\n' * 4)
    spec = tiny_spec(tiny_bert, one, task="sequence_classification")
    with pytest.raises(EngineError, match="1 classes"):
        check_run(spec, settings)


def test_the_preview_shows_classes_and_tags(tiny_bert, texts, tagged, settings):
    tokenizer = load_tokenizer(resolve_base_model(str(tiny_bert), settings))
    spec = tiny_spec(tiny_bert, texts).dataset
    shown = preview(spec, tokenizer, 64, 1, settings).examples[0]
    assert shown.label in THINGS
    assert not any(token.supervised for token in shown.tokens)
    assert "".join(token.text for token in shown.tokens) == f"[CLS] {shown.text} [SEP] "
    spec = tiny_spec(tiny_bert, tagged).dataset
    shown = preview(spec, tokenizer, 64, 1, settings).examples[0]
    assert sum(token.supervised for token in shown.tokens) == len(shown.label.split())
    cut = preview(spec, tokenizer, 4, 1, settings)
    assert cut.truncated_rows > 0
    assert "Cut off at 4 tokens" in cut.warnings[0]
