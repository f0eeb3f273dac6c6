"""Data as a whole run sees it: batches by tokens resume exactly, tokens come from the cache."""

from __future__ import annotations

import shutil

import pytest

from lora_engine.data import row_cache, row_store, token_cache
from lora_engine.data.row_store import StoredRows
from lora_engine.data.token_store import StoredTokens
from lora_engine.run_folder import RunDirectory
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
