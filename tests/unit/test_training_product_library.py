"""Which library computes a run's products: measured once, remembered, and kept for the run."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from lora_engine.training import product_library
from lora_engine.training.kernels import matmul
from lora_engine.training.product_library import (
    FILE,
    ProductSpeeds,
    Sizes,
    library_of_run,
    measure,
    sizes_of,
)

SIZES = Sizes(64, 64, 128)
pytestmark = pytest.mark.skipif(not matmul.has_choice(), reason="this torch has one library alone")


@pytest.fixture
def measured(monkeypatch):
    """What a measurement would find; each one made is noted in the list."""
    made, speeds = [], {"torch": 90.0, "onednn": 180.0}

    def instead(sizes):
        made.append(sizes)
        return ProductSpeeds.model_validate(speeds)

    monkeypatch.setattr(product_library, "measure", instead)
    return made, speeds


@pytest.fixture
def folders(tmp_path):
    names = ("first", "second", "cache")
    for name in names[:2]:
        (tmp_path / name).mkdir()
    return [tmp_path / name for name in names]


def test_the_faster_is_chosen_and_measured_once(measured, folders, caplog):
    made, _ = measured
    first, second, cache = folders
    caplog.set_level(logging.INFO)
    assert library_of_run(first, None, SIZES, cache) == "onednn"
    for figure in measured[1].values():
        assert f"{figure:.0f} GFLOP/s" in caplog.text or f"oneDNN {figure:.0f}" in caplog.text
    assert library_of_run(second, None, SIZES, cache) == "onednn"
    assert made == [SIZES]
    library_of_run(second.parent, None, Sizes(128, 64, 128), cache)
    assert len(made) == 2, "other sizes are another question"


def test_a_resumed_or_extended_run_computes_as_it_began(measured, folders):
    _, speeds = measured
    first, second, cache = folders
    library_of_run(first, None, SIZES, cache)
    speeds |= {"torch": 500.0}  # another machine, or another torch
    (cache / FILE).unlink()
    assert library_of_run(first, None, SIZES, cache) == "onednn"
    assert library_of_run(second, first, SIZES, cache) == "onednn"
    assert json.loads((second / FILE).read_text())["library"] == "onednn"
    assert library_of_run(second.parent, None, SIZES, cache) == "torch"


NO_SPEED = b'{"library": "torch", "speeds": {"torch": NaN, "onednn": -1}}'


@pytest.mark.parametrize("content", [b"", b"[]", b'{"x": 1}', b"\xff", b"{" * 200_000, NO_SPEED])
def test_what_cannot_be_read_is_measured_anew(measured, folders, content):
    first, second, cache = folders
    cache.mkdir()
    (cache / FILE).write_bytes(content)
    (first / FILE).write_bytes(content)
    assert library_of_run(first, None, SIZES, cache) == "onednn"
    assert len(measured[0]) == 1
    assert library_of_run(second, None, SIZES, cache) == "onednn"
    assert len(measured[0]) == 1


def test_a_folder_that_cannot_be_written_costs_the_memory_alone(measured, folders):
    first, _, cache = folders
    cache.write_text("no folder")
    (first / FILE).mkdir()
    assert library_of_run(first, None, SIZES, cache) == "onednn"


def test_a_tie_goes_to_torch():
    assert ProductSpeeds(torch=100, onednn=107).faster == "torch"
    assert ProductSpeeds(torch=100, onednn=109).faster == "onednn"


def test_a_measurement_leaves_no_trace():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    speeds = measure(SIZES)
    assert min(speeds.torch, speeds.onednn) > 0
    assert (speeds.bfloat16 is not None) == product_library.has_fast_bfloat16()
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    assert not matmul._is_for_onednn(torch.ones(2, 2), torch.ones(2, 2))


def test_sizes_are_bounded_and_near_ones_are_one():
    config = {"hidden_size": 256, "intermediate_size": 768}
    assert sizes_of(208, config) == sizes_of(190, config) == Sizes(192, 256, 768)
    assert sizes_of(1, {"hidden_size": "x"}) == Sizes(64, 1024, 1024)
    assert sizes_of(1e9, {"hidden_size": 8192, "intermediate_size": 28672})[0] <= 256
    assert sizes_of(1680, config).tokens == 1024
