"""The recommended rank on problems of known rank; benchmarks/planted_rank.py asks ten seeds."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark's own problems, with fewer ranks, rates and steps, on one thread."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("planted_rank")
    for name, value in (("RANKS", (1, 2, 4, 8, 16)), ("RATES", (2e-2,)), ("STEPS", 150)):
        monkeypatch.setattr(module, name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the products are too small to split
    yield module
    torch.set_num_threads(threads)


@pytest.mark.parametrize("planted", [2, 8])
def test_the_planted_rank_is_recommended(benchmark: ModuleType, planted: int) -> None:
    found = benchmark.planted_judgement(planted, seed=0, draws=500)
    assert found.recommended_rank == planted
    too_small = [one for one in found.ranks if one.rank < planted]
    assert all(one.interval.low > 0 for one in too_small)
    assert all(one.eval_loss < found.base_loss for one in found.ranks)
