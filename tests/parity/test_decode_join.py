"""Rows that join a running batch get the tokens and the scores that they get alone."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lora_engine.cancellation import NEVER_STOPPED
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.decode_passes import DecodePass
from lora_engine.generation import decode
from lora_engine.generation.decode import DecodeRow
from lora_engine.generation.sampling import Sampling
from tests.compare_models import save_adapter, save_base

GREEDY = Sampling(max_new_tokens=1)
PROMPTS = [[70, 71, 72], [65] * 40, [80, 81], list(range(60, 90))]


def row(prompt, limit=24, **changes) -> DecodeRow:
    return DecodeRow(prompt, limit, "token limit", **{"sampling": GREEDY, **changes})


def read(shared, group) -> DecodePass:
    """A pass whose prompts are read."""
    found = DecodePass(shared, group)
    while found.batch.reads_prompts:
        found.run_for(0.0, NEVER_STOPPED)
    return found


def alone(shared, variant, one: DecodeRow) -> list[int]:
    DecodePass(shared, [(variant, one)]).run_for(1e9, NEVER_STOPPED)
    return one.tokens


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2", "gpt2"])
def test_rows_that_join_one_after_another_get_the_tokens_they_get_alone(
    tmp_path, settings, monkeypatch, architecture
):
    monkeypatch.setattr(decode, "PREFILL_CHUNK", 16)
    base = save_base(tmp_path / "base", architecture)
    folders = {name: save_adapter(tmp_path / name, base, seed=n) for n, name in enumerate("ab", 1)}
    shared = ComparisonModel.load(base, folders, settings).shared
    with shared.keep_loaded({"base": None, **folders}) as keys:
        variants = [AdapterVariant(keys[name]) for name in ("a", "base", "b", "a")]
        samplings = [GREEDY, Sampling(temperature=1.5, top_p=0.9, seed=7), GREEDY, GREEDY]
        limits = [10, 60, 24, 24]

        def made() -> list[DecodeRow]:
            return [
                row(prompt, limit, sampling=sampling)
                for prompt, limit, sampling in zip(PROMPTS, limits, samplings, strict=True)
            ]

        expected = [alone(shared, v, one) for v, one in zip(variants, made(), strict=True)]
        rows = made()
        running = read(shared, [(variants[0], rows[0])])
        for variant, one in zip(variants[1:], rows[1:], strict=True):
            for _ in range(3):
                running.run_for(0.0, NEVER_STOPPED)
            running.join(read(shared, [(variant, one)]))
        running.run_for(1e9, NEVER_STOPPED)
    assert [one.tokens for one in rows] == expected


def test_padding_that_every_row_has_is_forgotten(tmp_path, settings):
    shared = ComparisonModel.load(save_base(tmp_path / "base"), {}, settings).shared
    variant = AdapterVariant()
    long, short = row([65] * 200, 2), row([70, 71], 40)
    running = read(shared, [(variant, long)])
    running.join(read(shared, [(variant, short)]))
    while long.finished is None:
        running.run_for(0.0, NEVER_STOPPED)
    assert running.batch._cached < 10
    running.run_for(1e9, NEVER_STOPPED)
    assert short.tokens == alone(shared, variant, row([70, 71], 40))


def test_rows_taken_out_leave_the_others_as_they_were(tmp_path, settings):
    base = save_base(tmp_path / "base")
    shared = ComparisonModel.load(base, {}, settings).shared
    variant = AdapterVariant()
    rows = [row(prompt, 40) for prompt in PROMPTS]
    running = DecodePass(shared, [(variant, one) for one in rows])
    for _ in range(5):
        running.run_for(0.0, NEVER_STOPPED)
    running.batch.end_rows([rows[1], rows[3]])
    running.run_for(1e9, NEVER_STOPPED)
    assert [one.finished for one in rows] == ["token limit", "stopped"] * 2
    assert len(rows[1].tokens) == 5
    for kept in (0, 2):
        assert rows[kept].tokens == alone(shared, variant, row(PROMPTS[kept], 40))


@pytest.mark.parametrize("limit", [0, 3])
def test_scores_of_prompt_and_answer_are_those_of_plain_peft(
    tmp_path, settings, monkeypatch, limit
):
    monkeypatch.setattr(decode, "SCORED_LOGITS", 1)  # chunks of 16 positions
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base)
    shared = ComparisonModel.load(base, {"adapter": adapter}, settings).shared
    rows = [row(prompt, limit, likeliest=2, scores_prompt=True) for prompt in PROMPTS]
    with shared.keep_loaded({"adapter": adapter, "base": None}) as keys:
        variants = [AdapterVariant(keys[name]) for name in ("adapter", "base", "base", "adapter")]
        group = list(zip(variants, rows, strict=True))
        DecodePass(shared, group).run_for(1e9, NEVER_STOPPED)
    plain = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float64).eval()
    for one in (1, 2, 0, 3):
        if one == 0:
            plain = PeftModel.from_pretrained(plain, adapter).eval()
        tokens = [*PROMPTS[one], *rows[one].tokens]
        with torch.inference_mode():
            expected = plain(torch.tensor([tokens])).logits[0].log_softmax(-1)
        scores = [*rows[one].prompt_scores, *rows[one].scores]
        assert [score.token for score in scores] == tokens[1:]
        for position, score in enumerate(scores):
            assert score.log_probability == pytest.approx(
                expected[position, score.token].item(), abs=1e-4
            )
            assert score.likeliest[0][0] == expected[position].argmax()
            assert len(score.likeliest) == 2
        assert len(rows[one].scores) == len(rows[one].tokens) == limit
