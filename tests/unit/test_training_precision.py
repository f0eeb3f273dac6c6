"""What precision auto means: bfloat16 where a card has it, else float16 where that is allowed."""

from __future__ import annotations

import pytest
import torch

from lora_engine.spec import spec_from
from lora_engine.training.precision import precision_of

GRPO = {"kind": "grpo", "rules": [{"kind": "json_valid"}]}


@pytest.mark.parametrize(
    ("has_bfloat16", "document", "expected"),
    [
        (True, {}, "bfloat16"),
        (False, {}, "float16"),
        (False, {"method": {"finetuning_type": "full"}}, "float16"),
        (False, {"task": "sequence_classification"}, "float32"),
        (False, {"objective": GRPO}, "float32"),
        (False, {"optimization": {"stream_base": True}}, "float32"),
        (False, {"optimization": {"precision": "bfloat16"}}, "bfloat16"),
    ],
)
def test_auto_on_a_card(monkeypatch, has_bfloat16, document, expected):
    def is_supported(including_emulation=True):
        return including_emulation or has_bfloat16  # a T4 emulates it

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert precision_of(spec_from(document), "cuda") == expected


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_auto_elsewhere_is_float32(device):
    assert precision_of(spec_from({}), device) == "float32"
