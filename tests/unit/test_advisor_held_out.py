"""The rows that runs of several seeds are judged on, and what each of them was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_engine.advisor.children import Child
from lora_engine.advisor.loss_tables import held_out_rows, spread
from lora_engine.data import load_dataset, split_rows
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings
from lora_engine.spec import spec_from
from tests.judged_runs import child, table


def trained(folder: Path, rows: Path, rank: int, seed: int, share: float = 0.25) -> Child:
    """A child whose adapter says what it was trained on; nothing else of it is there."""
    document = {
        "dataset": {"source": str(rows), "eval_fraction": share},
        "method": {"rank": rank},
        "seed": seed,
    }
    adapter = folder / f"r{rank}-{seed}"
    adapter.mkdir()
    (adapter / "provenance.json").write_text(json.dumps({"spec": document}), "utf-8")
    name = f"r{rank} {seed}"
    return replace(child(name, rank, seed=seed), spec=spec_from(document), adapter=adapter)


@pytest.fixture
def distinct(tmp_path: Path) -> Path:
    path = tmp_path / "distinct.jsonl"
    rows = ({"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(40))
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_each_seed_keeps_its_rows_and_each_run_only_what_it_never_saw(
    tmp_path: Path, distinct: Path, settings: Settings
) -> None:
    children = [trained(tmp_path, distinct, rank, seed) for rank in (4, 8) for seed in (0, 1)]
    found = held_out_rows(children, settings)
    dataset = load_dataset(children[0].spec.dataset, settings)
    sets = {seed: {row.number for row in split_rows(dataset, 0.25, seed)[1]} for seed in (0, 1)}
    assert {row.number for row in found.rows} == sets[0] | sets[1]
    assert len(found.rows) > len(sets[0])
    numbers = tuple(row.number for row in found.rows)
    full = table({one.id: np.ones(len(numbers)) for one in children})
    masked = found.without_seen(replace(full, numbers=numbers), children)
    for column, one in enumerate(children):
        kept = {n for n, loss in zip(numbers, masked.losses[:, column], strict=True) if loss == 1}
        assert kept == sets[one.spec.seed]
    assert not np.isnan(masked.of([one.id for one in children[:2]])).any()


def test_a_setting_without_a_seed_leaves_out_that_seeds_rows(
    tmp_path: Path, distinct: Path, settings: Settings
) -> None:
    children = [trained(tmp_path, distinct, *one) for one in ((4, 0), (4, 1), (8, 0))]
    found = held_out_rows(children, settings)
    assert {row.number for row in found.rows} == found.unseen[0]


def test_runs_without_common_rows_are_refused(
    tmp_path: Path, distinct: Path, settings: Settings
) -> None:
    few = [trained(tmp_path, distinct, rank, seed, 0.03) for rank, seed in ((4, 0), (8, 1))]
    with pytest.raises(EngineError):
        held_out_rows(few, settings)
    with pytest.raises(NotFound) as refused:
        held_out_rows([trained(tmp_path, distinct, 16, 0, 0.0)], settings)
    assert "eval_fraction" in refused.value.remedy


def test_fewer_rows_are_spread_over_all(distinct: Path, settings: Settings) -> None:
    rows = load_dataset(spec_from({"dataset": {"source": str(distinct)}}).dataset, settings).rows
    assert [row.number for row in spread(rows, 4)] == [1, 11, 21, 31]
    assert spread(rows, 100) is rows
