"""What a run tells before its first step and at every evaluation: answers, and each ΔW."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.run_folder import SAMPLES, read_samples, read_updates
from lora_engine.spectrum import metrics
from lora_engine.spectrum.adapter_factors import read_adapter
from tests.training_runs import losses, tiny_spec, train_here


@pytest.fixture
def run(tiny_llama, rows_file, settings, tmp_path):
    numbers = itertools.count()

    def train(resume_in=None, should_stop=lambda: False, base=None, **changes):
        folder = resume_in.path if resume_in else tmp_path / f"run-{next(numbers)}"
        spec = tiny_spec(base or tiny_llama, rows_file, **changes)
        return train_here(spec, folder, settings, resume_in is not None, should_stop)[0]

    return train


EVERY_4 = {"optimization": {"eval_every": 4}}


@pytest.mark.parametrize("init", ["default", "pissa"])
def test_updates_are_those_of_the_saved_adapter(run, init):
    directory = run(method={"init": init}, **EVERY_4)
    rows = read_updates(directory)
    assert [row.step for row in rows] == [0, 4, 8]
    for before in rows[0].modules:
        assert (before.frobenius_norm, before.effective_rank) == (0.0, 0.0)
    saved = {module.name: module for module in read_adapter(directory.adapter_path).modules}
    assert {module.name for module in rows[2].modules} == set(saved)
    for update in rows[2].modules:
        values = np.linalg.svd(saved[update.name].factors.dense(), compute_uv=False)
        assert update.frobenius_norm == pytest.approx(np.linalg.norm(values), rel=1e-4)
        small = values[values > values[0] * 1e-6]
        assert update.effective_rank == pytest.approx(metrics.effective_rank(small), rel=1e-3)
    assert rows[1].modules[0].frobenius_norm < rows[2].modules[0].frobenius_norm


def test_a_whole_model_has_no_updates_but_answers(run):
    directory = run(method={"finetuning_type": "full"}, report={"samples": 1}, **EVERY_4)
    assert read_updates(directory) == []
    assert [row.step for row in read_samples(directory)] == [0, 4, 8]


def test_answers_are_the_models_own_and_change_nothing(run, tiny_llama):
    """The first and last answers against transformers' own greedy search with base and model."""
    asked = ["What colour is thing 3?", "What, then,\nis grass?"]
    report = {"samples": 2, "sample_prompts": asked, "sample_tokens": 12}
    full = {"finetuning_type": "full"}
    directory = run(method=full, report=report, **EVERY_4)
    rows = read_samples(directory)
    assert [(row.step, row.prompt) for row in rows] == [(s, p) for s in (0, 4, 8) for p in asked]
    assert losses(directory) == losses(run(method=full, **EVERY_4))

    assert_greedy(tiny_llama, rows[:2])
    assert_greedy(directory.path / "model", rows[4:])


def assert_greedy(folder, rows):
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row in rows:
        turn = [{"role": "user", "content": row.prompt}]
        inputs = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**inputs, max_new_tokens=12, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1] :]
        assert row.text == tokenizer.decode(new, skip_special_tokens=True)
        assert row.finished == (int(new[-1]) == tokenizer.eos_token_id)


def test_the_padded_path_answers_as_the_packed_one(tiny_llama, run, monkeypatch):
    from lora_engine.training.forward import select

    report = {"samples": 3, "sample_tokens": 6}
    packed = read_samples(run(report=report, **EVERY_4))

    def refuse(*_):
        raise select.CannotPack("for the test")

    monkeypatch.setattr(select, "_refuse_by_declaration", refuse)
    padded = read_samples(run(report=report, **EVERY_4))
    assert packed == padded
    assert len(packed) == 9


def test_without_prompts_the_first_questions_of_the_held_out_rows_are_asked(run, rows_file):
    rows = read_samples(run(report={"samples": 2, "sample_tokens": 2}, **EVERY_4))
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    assert len(prompts) == 2
    asked = [json.loads(line)["messages"][0]["content"] for line in rows_file.open()]
    assert set(prompts) <= set(asked)


def test_plain_text_is_gone_on_with(run, rows_file):
    rows_file.write_text(
        "\n".join(json.dumps({"text": f"The sky is blue {i}."}) for i in range(20))
    )
    rows = read_samples(run(report={"samples": 1}, **EVERY_4))
    assert rows[0].prompt.startswith("The sky")


def test_a_resumed_run_replaces_its_later_rows_and_survives_a_torn_line(run):
    changes = {"report": {"samples": 1}, "optimization": {"eval_every": 2, "save_every": 3}}
    steps = itertools.count(1)
    directory = run(should_stop=lambda: next(steps) > 5, **changes)
    with (directory.path / SAMPLES).open("ab") as file:
        file.write(b'{"step": 6, "prompt": "torn')
    run(resume_in=directory, **changes)
    assert [row.step for row in read_samples(directory)] == [0, 2, 4, 6, 8]
    assert [row.step for row in read_updates(directory)] == [0, 2, 4, 6, 8]
    whole = run(**changes)
    assert read_samples(whole) == read_samples(directory)
    assert read_updates(whole) == read_updates(directory)
