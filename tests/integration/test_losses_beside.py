"""Losses of adapters beside each other, on the starter; and the folders that operations write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_engine.adapter_operations import WeightedAdapter
from lora_engine.adapter_operations.service import AdapterOperations
from lora_engine.base_models import BaseModel, resolve_base_model
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.compare.service import Comparisons
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.settings import Settings
from lora_engine.starter import MODEL_DIR
from tests.compare_models import save_adapter

STARTER_MODEL = BaseModel("starter", MODEL_DIR)


@pytest.fixture
def operations(tmp_path: Path) -> AdapterOperations:
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models")
    return AdapterOperations(settings, Comparisons(settings))


def test_losses_are_measured_on_each_adapters_own_rows_and_on_general_ones(
    operations: AdapterOperations, tmp_path: Path
) -> None:
    base = resolve_base_model("starter", Settings(data_dir=tmp_path, models_dir=tmp_path / "m"))
    known, unknown = tmp_path / "adapters/known", tmp_path / "adapters/unknown"
    for seed, folder in enumerate((known, unknown), 1):
        save_adapter(folder, base, seed=seed, r=2, lora_alpha=2)
    spec = {"base_model": "starter", "dataset": {"source": "starter:json"}}
    provenance = {"base_model": "starter", "spec": spec}
    (known / "provenance.json").write_text(json.dumps(provenance), "utf-8")

    said: list[float] = []
    found = operations.losses_beside(
        ["known", "unknown"], rows=3, progress=lambda share, doing: said.append(share)
    )

    assert [one.rows_of for one in found.measured] == ["known", None]
    for one in found.measured:
        assert [(pair.column, pair.rows) for pair in one.pairs] == [("known", 3), ("unknown", 3)]
        assert one.pairs[0].base_loss == one.pairs[1].base_loss > 0
        assert len({pair.loss for pair in one.pairs} | {one.pairs[0].base_loss}) == 3
        before, after = (pair.loss for pair in one.pairs)
        change = one.against("unknown", "known")
        assert (change.base_loss, change.loss) == (before, after)
        assert change.difference == after - before
        assert change.low < change.difference < change.high
    assert len(found.notes) == 1
    assert found.notes[0].startswith("unknown: ")
    assert said == sorted(said)
    assert said[-1] == 1.0


def test_a_trial_is_in_no_list_and_the_oldest_go(operations: AdapterOperations) -> None:
    made = [operations.trial_folder(f"trial {number}") for number in range(1)]
    for number in range(1, 7):
        made[-1].mkdir(parents=True)
        made.append(operations.trial_folder(f"a / b {number}"))

    assert made[-1].name == "a-b-6"
    assert [folder.is_dir() for folder in made] == [False] * 3 + [True] * 3 + [False]


def test_a_trial_that_cannot_be_made_leaves_nothing(
    operations: AdapterOperations, tmp_path: Path
) -> None:
    with pytest.raises(EngineError):
        operations.combine_trial([WeightedAdapter(tmp_path / "nobody")], "heard")
    for folder in (tmp_path / "one", tmp_path / "two"):
        save_adapter(folder, STARTER_MODEL, r=2, lora_alpha=2)
    named = [WeightedAdapter(tmp_path / name, 0.5) for name in ("one", "two")]
    with pytest.raises(Stopped):
        operations.combine_trial(named, "heard", stop=_stopped())
    assert list((tmp_path / "trials").iterdir()) == []
    report = operations.combine_trial(named, "heard")
    assert report.path.name == "heard"
    assert (report.path / "adapter_model.safetensors").is_file()


def _stopped() -> StopSignal:
    stop = StopSignal()
    stop.set()
    return stop


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\0", "x" * 81, "/etc"])
def test_a_name_that_is_more_than_a_name_is_refused(
    operations: AdapterOperations, name: str
) -> None:
    for folder in (operations.adapter_folder, operations.model_folder):
        with pytest.raises(InvalidInput):
            folder(name)
