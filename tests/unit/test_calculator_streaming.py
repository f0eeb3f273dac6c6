"""What a streamed base takes by the calculator: two layers, bytes a step; when it is offered."""

from __future__ import annotations

import pytest

from lora_engine import calculator
from lora_engine.calculator.memory_request import GIB, read_request
from lora_engine.calculator.model_profile import read_profile
from lora_engine.calculator.model_source import preset_source
from lora_engine.calculator.streaming import bytes_a_step
from lora_engine.spec import MethodSpec

# Llama-2-7B: 262,148,096 numbers outside its 32 layers of 202,383,360 each.
LAYER, OUTSIDE, LAYERS = 202_383_360, 262_148_096, 32


def ask(**optimization):
    document = {
        "method": MethodSpec(rank=8).model_dump(),
        "optimization": {"stream_base": True, **optimization},
        "workload": {"dtype": "bfloat16", "device": "cpu", "seq_length": 512},
    }
    return read_request(preset_source("llama-2-7b"), document)


def gib_of(request):
    return {item.name: item.gib for item in calculator.estimate_memory(request).items}


def test_two_layers_and_what_lies_outside_them_are_resident():
    found = gib_of(ask())
    assert found["streamed layers"] == pytest.approx(2 * 2 * LAYER / GIB)
    assert found["weights outside the layers"] == pytest.approx(2 * OUTSIDE / GIB)
    assert "weights" not in found
    assert calculator.estimate_memory(ask()).total_gib < 4


def test_all_batches_of_a_step_keep_their_inputs_up_to_a_bound():
    one, two, many = (gib_of(ask(gradient_accumulation=n))["activations"] for n in (1, 2, 4096))
    assert two == pytest.approx(2 * one)
    assert many == pytest.approx(1.0, rel=0.01)


def test_a_step_reads_every_layer_twice_but_those_that_are_there():
    profile = read_profile(preset_source("llama-2-7b"), MethodSpec(rank=8))
    assert bytes_a_step(profile, ask()) == pytest.approx(2 * (LAYERS - 2) * 2 * LAYER)


def test_it_is_offered_where_nothing_else_is_enough():
    request = read_request(
        preset_source("llama-2-7b"), {"workload": {"device": "cpu", "seq_length": 128}}
    )
    for room, expected in ((8, False), (3, True)):
        found = calculator.make_it_fit(request, room)
        fields = {path for change in found.changes for path in change.fields}
        assert found.fits
        assert ("optimization.stream_base" in fields) is expected
