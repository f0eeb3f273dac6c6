"""Which runs may train in one worker: those that differ in the adapter and its steps alone."""

from __future__ import annotations

import pytest

from lora_engine.spec import spec_from
from lora_engine.training import sharing_key

PLAIN = {"method": {"rank": 8}}


def key(**sections):
    return sharing_key(spec_from({**PLAIN, **sections}))


@pytest.mark.parametrize(
    "sections",
    [
        {"method": {"rank": 64, "alpha": 3.0, "dropout": 0.1, "target_modules": ["q_proj"]}},
        {"method": {"use_dora": True}},
        {"method": {"init_from": "another"}},
        {"method": {"init": "eva"}},
        {"seed": 5, "name": "another", "report": {"samples": 0}},
        {"optimization": {"learning_rate": 0.1, "batch_size": 1, "schedule": "linear"}},
        {"optimization": {"max_steps": 7, "optimizer": "adafactor", "gradient_accumulation": 3}},
    ],
)
def test_what_may_differ(sections):
    assert key() is not None
    assert key(**sections) == key()


@pytest.mark.parametrize(
    "sections",
    [
        {"base_model": "another"},
        {"dataset": {"source": "starter:json"}},
        {"dataset": {"eval_fraction": 0.2}},
        {"quantization": {"bits": 4}},
        {"optimization": {"precision": "bfloat16"}},
        {"optimization": {"max_length": 64}},
        {"optimization": {"gradient_checkpointing": True}},
        {"optimization": {"stream_base": True}},
        {"optimization": {"offload_activations": True}},
    ],
)
def test_what_parts_runs(sections):
    assert key(**sections) is not None
    assert key(**sections) != key()


@pytest.mark.parametrize(
    "sections",
    [
        {"task": "sequence_classification"},
        {"method": {"finetuning_type": "full"}},
        {"method": {"modules_to_save": ["lm_head"]}},
        {"method": {"bias": "all"}},
        {"method": {"init": "pissa"}},
        {"quantization": {"bits": 8}},
        {"extended_from": {"run": "a", "step": 3, "steps": 2}},
    ],
)
def test_what_trains_alone(sections):
    assert key(**sections) is None
