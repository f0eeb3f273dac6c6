"""Counts drawn from two ranks are PEFT's own at any rank."""

from __future__ import annotations

import pytest

from lora_engine.calculator import count_model, counts_at_ranks, preset_source
from tests.calculator_requests import lora

CHOICES = {
    "all-linear": lora(),
    "dora": lora(use_dora=True),
    "bias": lora(lora_bias=True),
    "base biases": lora(bias="all"),
    "pattern": lora(targets="q_proj,v_proj", rank_pattern={"q_proj": 3}),
    "saved": lora(targets="q_proj", modules_to_save=("lm_head",)),
}


CASES = [("llama-2-7b", name) for name in CHOICES] + [("mixtral-8x7b", "all-linear")]


@pytest.mark.parametrize(("preset", "name"), CASES)
def test_the_line_through_two_counts_meets_the_others(preset, name):
    choice = CHOICES[name]
    source = preset_source(preset)
    for at in counts_at_ranks(source, choice, (1, 7, 64)):
        counted = count_model(source, choice.model_copy(update={"rank": at.rank}))
        assert at.trainable_parameters == counted.trainable_parameters
        assert at.adapter_bytes == counted.adapter_bytes
        assert at.trainable_fraction == pytest.approx(counted.trainable_fraction)
