"""Data as a whole run sees it: batches by tokens resume exactly, tokens come from the cache."""

from __future__ import annotations

import json
import shutil

import pytest

from lora_engine.data import row_cache, row_store, token_cache
from lora_engine.data.row_store import StoredRows
from lora_engine.data.token_store import StoredTokens
from lora_engine.run_folder import RunDirectory
from lora_engine.spec import spec_from
from lora_engine.training.preparation import prepare
from tests.training_runs import losses, tiny_spec, train_here


@pytest.mark.parametrize(
    "batches",
    [{"max_tokens_per_batch": 90, "gradient_accumulation": 2}, {"row_order": "by_length"}],
)
def test_grouped_batches_resume_exactly(tiny_llama, rows_file, settings, tmp_path, batches):
    spec = tiny_spec(tiny_llama, rows_file, optimization=batches)
    whole, _ = train_here(spec, tmp_path / "whole", settings)
    stopped, position = train_here(
        spec, tmp_path / "again", settings, should_stop=iter([False] * 3 + [True] * 9).__next__
    )
    assert position.step == 3
    train_here(spec, stopped.path, settings, resume=True)
    assert losses(stopped) == losses(whole)


def test_the_second_run_takes_its_tokens_from_the_cache(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch
):
    spec = tiny_spec(tiny_llama, rows_file)
    first, _ = train_here(spec, tmp_path / "first", settings)
    monkeypatch.setattr(token_cache, "tokenize", None)  # would fail if it were called
    second, _ = train_here(spec, tmp_path / "second", settings)
    assert losses(second) == losses(first)
    longer = tiny_spec(tiny_llama, rows_file, optimization={"max_length": 64})
    with pytest.raises(TypeError):
        train_here(longer, tmp_path / "third", settings)


def test_a_mixture_trains_and_resumes_exactly_also_from_disk(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch
):
    small = tmp_path / "small.jsonl"
    rows = [{"prompt": f"Is {n} a number?", "completion": "Yes, it is."} for n in range(10)]
    small.write_text("\n".join(map(json.dumps, rows)))
    mixture = [{"source": str(rows_file)}, {"source": str(small)}]
    dataset = {"mixture": mixture, "filters": {"drop_matching": "thing 7"}, "eval_fraction": 0.2}
    spec = tiny_spec(tiny_llama, rows_file).model_dump(exclude_unset=True)
    spec = spec_from({**spec, "dataset": dataset})
    whole, progress = train_here(spec, tmp_path / "whole", settings)
    data = prepare(whole, settings).data
    assert (len(data.training), len(data.evaluation)) == (39, 10)
    assert data.evaluated_sets == ((str(rows_file), 8), (str(small), 2))
    by_set = progress.eval_loss_by_set
    tokens = [sum(x >= 0 for x in row.labels) for row in data.evaluation]
    parts = (by_set[str(rows_file)] * sum(tokens[:8]), by_set[str(small)] * sum(tokens[8:]))
    assert sum(parts) / sum(tokens) == pytest.approx(progress.last_eval_loss, rel=1e-5)
    for module in (row_cache, row_store):
        monkeypatch.setattr(module, "LARGE_ROWS", 5)
    again, _ = train_here(
        spec, tmp_path / "again", settings, should_stop=iter([False] * 3 + [True] * 9).__next__
    )
    train_here(spec, again.path, settings, resume=True)
    assert losses(again) == losses(whole)


def test_an_evaluation_set_is_what_the_loss_is_measured_on(
    tiny_llama, rows_file, settings, tmp_path
):
    held = tmp_path / "held.jsonl"
    first, *others = rows_file.read_text("utf-8").splitlines()
    held.write_text("\n".join([first, first.replace("thing 0", "a thing")]))
    dataset = {"source": str(rows_file), "eval_source": str(held)}
    directory, progress = train_here(
        tiny_spec(tiny_llama, rows_file, dataset=dataset), tmp_path / "run", settings
    )
    data = prepare(directory, settings).data
    assert (len(data.training), len(data.evaluation)) == (len(others), 2)
    assert progress.eval_loss_by_set is None
    alone = {**dataset, "eval_source": None, "source": str(held), "eval_fraction": 0.0}
    RunDirectory(tmp_path / "alone").create(tiny_spec(tiny_llama, held, dataset=alone))
    same = prepare(RunDirectory(tmp_path / "alone"), settings).data.training
    assert [row.input_ids for row in same] == [row.input_ids for row in data.evaluation]


def test_a_batch_by_tokens_holds_no_more(tiny_llama, rows_file, settings, tmp_path):
    spec = tiny_spec(tiny_llama, rows_file, optimization={"max_tokens_per_batch": 90})
    directory, _ = train_here(spec, tmp_path / "run", settings)
    rows = prepare(directory, settings).data.training
    counted = [0, *(row.tokens for row in directory.metrics())]
    most = max(b - a for a, b in zip(counted, counted[1:], strict=False))
    assert 90 - max(len(row.input_ids) for row in rows) < most <= 90


def test_a_set_on_disk_trains_as_one_in_memory_and_resumes_without_its_cache(
    tiny_llama, rows_file, settings, tmp_path, monkeypatch
):
    spec = tiny_spec(tiny_llama, rows_file, optimization={"row_order": "by_length"})
    in_memory, _ = train_here(spec, tmp_path / "memory", settings)
    for module in (row_cache, row_store):
        monkeypatch.setattr(module, "LARGE_ROWS", 5)
    on_disk = RunDirectory(tmp_path / "disk")
    on_disk.create(spec)
    rows = prepare(on_disk, settings).data
    assert isinstance(rows.training.whole, StoredTokens)
    assert isinstance(rows.sample_rows.whole, StoredRows)
    train_here(spec, on_disk.path, settings, should_stop=iter([False] * 3 + [True] * 9).__next__)
    shutil.rmtree(settings.token_cache_dir)
    train_here(spec, on_disk.path, settings, resume=True)
    assert losses(on_disk) == losses(in_memory)
