"""Activations in the host's memory by the calculator: what is left on the card, when offered."""

from __future__ import annotations

import pytest

from lora_engine import calculator
from lora_engine.calculator import preset_source
from lora_engine.calculator.memory_request import with_changes
from tests.calculator_requests import INT8, NF4, ask, lora

LLAMA, LAYERS = preset_source("llama-2-7b"), 32
MOVE = {"optimization.offload_activations": True}


def gib_of(estimate):
    return {item.name: item.gib for item in estimate.items}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_layer_s_stay_on_the_card_and_all_wait_on_the_host(checkpointing):
    request = ask(LLAMA, lora(), gradient_checkpointing=checkpointing, gradient_accumulation=2)
    before = calculator.estimate_memory(request)
    after = calculator.estimate_memory(with_changes(request, MOVE))
    whole = gib_of(before)["activations"]
    assert gib_of(after) == pytest.approx(
        gib_of(before)
        | {"activations": whole / LAYERS, "fragmentation": gib_of(after)["fragmentation"]}
    )
    assert after.host_gib - before.host_gib == pytest.approx(whole)
    assert after.total_gib < before.total_gib - 0.9 * whole


@pytest.mark.parametrize("fields", [{"device": "cpu"}, {"trainer": "plain"}, {"purpose": "chat"}])
def test_nothing_moves_where_no_run_of_ours_is_on_a_card(fields):
    request = ask(LLAMA, lora(), **fields)
    moved = calculator.estimate_memory(with_changes(request, MOVE))
    assert gib_of(moved) == gib_of(calculator.estimate_memory(request))
    assert moved.host_gib == 0


@pytest.mark.parametrize(
    ("fields", "is_offered"),
    [
        ({}, True),
        ({"quantization": INT8}, False),
        ({"kind": "full"}, False),
        ({"device": "cpu"}, False),
        ({"offload_activations": True}, False),
    ],
)
def test_it_is_offered_for_adapters_on_cards(fields, is_offered):
    """Checkpointed already, at 120,000 tokens a row: 30 GiB of the layers' inputs."""
    request = ask(LLAMA, lora(), gradient_checkpointing=True, seq_length=120_000, **fields)
    total = calculator.estimate_memory(request).total_gib
    first = calculator.make_it_fit(request, total - 1).changes[0]
    assert (first.fields == MOVE) is is_offered


def test_milder_changes_come_first():
    request = ask(LLAMA, lora(), quantization=NF4, batch_size=2)
    total = calculator.estimate_memory(request).total_gib
    found = calculator.make_it_fit(request, total - 1)
    assert [set(change.fields) for change in found.changes] == [
        {"workload.batch_size", "optimization.gradient_accumulation"}
    ]
