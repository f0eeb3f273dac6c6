"""The rows that runs of several seeds are judged on, and what each of them was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lora_engine.advisor import loss_tables
from lora_engine.advisor.children import Child
from lora_engine.advisor.loss_tables import LossTable, held_out_rows, spread
from lora_engine.compare.scoring import RowLoss
from lora_engine.data import load_dataset, split_rows
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings
from lora_engine.spec import spec_from
from lora_engine.spectrum import WorkMonitor
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


def measured(monkeypatch: pytest.MonkeyPatch, losses: dict[str, float]) -> LossTable:
    """The table of two rows whose losses are the same made-up ones."""

    def made_up(model: object, rows: list[int], stop: object) -> Iterator[RowLoss]:
        yield from (RowLoss(number, 5, {"base": 2.0, **losses}) for number in rows)

    monkeypatch.setattr(loss_tables, "row_losses", made_up)
    columns = {name: Path(name) for name in losses}
    load: Any = lambda columns: None  # noqa: E731
    rows: Any = [1, 2]
    return loss_tables.table_of(columns, rows, load, WorkMonitor())


def test_columns_are_measured_a_few_at_a_time_and_stand_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = {str(number): float(number) for number in range(11)}
    found = measured(monkeypatch, losses)
    assert found.columns == tuple(losses)
    assert found.losses.tolist() == [list(losses.values())] * 2
    assert (found.base.tolist(), found.numbers) == ([2.0, 2.0], (1, 2))


def test_a_loss_that_is_no_number_is_refused_by_its_runs_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(EngineError) as refused:
        measured(monkeypatch, {"sound": 1.0, "astray": float("nan")})
    assert "astray" in refused.value.problem
    assert "sound" not in refused.value.problem
