"""Datasets by name, the split, the library of uploads, and what importing costs."""

import gzip
import json
import re
import subprocess
import sys

import pytest

from lora_engine.data import (
    Dataset,
    Row,
    delete_upload,
    list_datasets,
    list_uploads,
    load_dataset,
    named_datasets,
    save_upload,
    split_rows,
    uploads,
)
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec
from lora_engine.starter import DATASET_NAMES

ROW = json.dumps({"prompt": "Hi", "completion": "Ho"})


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", max_upload_mb=1)


def dataset_of(count: int) -> Dataset:
    return Dataset("made", "text", tuple(Row(n + 1, (), f"row {n}") for n in range(count)), "0")


@pytest.mark.parametrize(
    ("name", "format"),
    [("pirate", "messages"), ("json", "alpaca"), ("facts", "prompt_completion")],
)
def test_starter_datasets_load(settings, name, format):
    dataset = load_dataset(DatasetSpec(source=f"starter:{name}"), settings)
    assert dataset.format == format
    assert 300 <= len(dataset.rows) <= 1_000
    assert all(row.messages[-1].role == "assistant" for row in dataset.rows)


def test_an_unknown_starter_dataset_lists_the_known(settings):
    with pytest.raises(NotFound, match="pirate, json, facts"):
        load_dataset(DatasetSpec(source="starter:../../etc/passwd"), settings)


@pytest.mark.parametrize(
    "source", ["a" * 900 + ".jsonl", "~nobody-here/a.jsonl", "a/b/c", "a b", "a\0b.jsonl", ".."]
)
def test_a_name_that_cannot_be_is_refused(settings, source):
    with pytest.raises(EngineError):
        load_dataset(DatasetSpec(source=source), settings)


def test_a_hub_dataset_that_cannot_be_reached_is_an_error_for_the_person(settings, monkeypatch):
    import datasets

    def offline(*_args, **_kwargs):
        raise ConnectionError("no network here")

    monkeypatch.setattr(datasets, "load_dataset_builder", offline)
    with pytest.raises(EngineError, match="org/name.*the hub cannot be reached"):
        load_dataset(DatasetSpec(source="org/name"), settings)


def test_split_is_seeded_and_keeps_every_row_once():
    dataset = dataset_of(20)
    train, evaluation = split_rows(dataset, 0.1, seed=3)
    assert (len(train), len(evaluation)) == (18, 2)
    assert sorted(row.number for row in train + evaluation) == list(range(1, 21))
    assert split_rows(dataset, 0.1, seed=3) == (train, evaluation)
    assert {split_rows(dataset, 0.1, seed)[1] for seed in range(10)} != {evaluation}
    assert split_rows(dataset, 0.0, seed=3) == (dataset.rows, ())


def test_split_leaves_a_training_row():
    assert [len(part) for part in split_rows(dataset_of(2), 0.99, seed=0)] == [1, 1]
    with pytest.raises(EngineError, match="one row"):
        split_rows(dataset_of(1), 0.1, seed=0)
    with pytest.raises(EngineError, match=r"share of 1\.0"):
        split_rows(dataset_of(5), 1.0, seed=0)


def test_an_upload_is_kept_under_a_safe_name_and_its_content(settings, tmp_path, monkeypatch):
    given = tmp_path / "given"
    given.write_text(ROW)
    first = save_upload(given, "../../my rows!.jsonl", settings)
    again = save_upload(given, "my rows!.jsonl", settings)
    assert re.fullmatch(r"my-rows-[0-9a-f]{8}\.jsonl", first.name)
    assert again == first
    given.write_text(ROW + "\n" + ROW)
    second = save_upload(given, "my rows!.jsonl", settings)
    assert second.name != first.name
    assert (first.format, first.rows, second.rows) == ("prompt_completion", 1, 2)
    assert load_dataset(DatasetSpec(source=first.name), settings).rows[0].number == 1
    listed = list_datasets(settings)
    assert [summary.name for summary in listed[: len(DATASET_NAMES)]] == [
        f"starter:{name}" for name in DATASET_NAMES
    ]
    assert {summary.name for summary in listed[len(DATASET_NAMES) :]} == {first.name, second.name}
    assert all(summary.rows >= 1 and summary.description for summary in listed)

    def read(*_: object) -> None:
        raise AssertionError("rows are read")

    monkeypatch.setattr(uploads, "load_file", read)
    assert named_datasets(settings) == [(one.name, one.description) for one in listed]


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "ROWS.JSONL.GZ", "rows.csv.gz", "rows.tsv"])
def test_packed_and_tabbed_uploads_are_kept_under_their_ending(settings, tmp_path, name):
    content = "prompt\tcompletion\nHi\tHo\n" if ".jsonl" not in name.lower() else ROW
    given = tmp_path / "given"
    packed = name.lower().endswith(".gz")
    given.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    kept = save_upload(given, name, settings)
    stem, _, extension = kept.name.partition(".")
    assert re.fullmatch(r"rows-[0-9a-f]{8}", stem.lower())
    assert f".{extension}" == name[4:].lower()
    assert kept.rows == 1
    assert [summary.name for summary in list_datasets(settings)[len(DATASET_NAMES) :]] == [
        kept.name
    ]
    delete_upload(kept.name, settings)
    assert list_datasets(settings)[len(DATASET_NAMES) :] == []


def test_an_upload_of_unknown_columns_waits_for_their_names(settings, tmp_path):
    given = tmp_path / "given"
    given.write_text("Frage,Antwort\nHi,Ho\n")
    kept = save_upload(given, "faq.csv", settings)
    assert (kept.rows, kept.format) == (0, "columns to be named")
    columns = {"prompt": "Frage", "answer": "Antwort"}
    spec = DatasetSpec.model_validate({"source": kept.name, "columns": columns})
    assert len(load_dataset(spec, settings).rows) == 1


def test_the_library_as_a_whole_is_bounded_and_makes_room_by_deletion(tmp_path):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path, max_datasets_mb=1)
    given = tmp_path / "given"
    given.write_text("x" * 600_000)
    kept = save_upload(given, "a.txt", settings)
    given.write_text("y" * 600_000)
    with pytest.raises(EngineError, match=r"0\.6 MB.* 1 MB"):
        save_upload(given, "b.txt", settings)
    delete_upload(kept.name, settings)
    assert save_upload(given, "b.txt", settings).size == 600_000


@pytest.mark.parametrize("name", ["../runs.db", ".x.jsonl.summary", "", "*", "nothing.jsonl"])
def test_only_a_file_of_the_library_can_be_deleted(settings, tmp_path, name):
    settings.datasets_dir.mkdir(parents=True)
    (settings.data_dir / "runs.db").write_text("runs")
    outside = tmp_path / "outside.jsonl"
    outside.write_text(ROW)
    (settings.datasets_dir / "link.jsonl").symlink_to(outside)
    for wrong in (name, "link.jsonl"):
        with pytest.raises(NotFound, match="library has no dataset"):
            delete_upload(wrong, settings)
    assert (settings.data_dir / "runs.db").exists()
    assert outside.exists()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("{broken", "a.jsonl", "a.jsonl: line 1: not JSON"),
        (ROW, "a.exe", r"ends in \.exe"),
        ("x" * 1_000_001, "a.txt", "1,000,001 bytes; uploads have at most 1 MB"),
    ],
)
def test_a_bad_upload_leaves_nothing_behind(settings, tmp_path, content, name, message):
    given = tmp_path / "given"
    given.write_text(content)
    with pytest.raises(EngineError, match=message):
        save_upload(given, name, settings)
    assert not settings.datasets_dir.exists() or list(settings.datasets_dir.iterdir()) == []


def test_a_file_put_into_the_library_by_hand_is_listed_with_what_is_wrong(settings):
    settings.datasets_dir.mkdir(parents=True)
    (settings.datasets_dir / "good.jsonl").write_text(ROW)
    (settings.datasets_dir / "bad.jsonl").write_text("{")
    bad, good = list_uploads(settings)
    assert (good.rows, good.format) == (1, "prompt_completion")
    assert (bad.rows, bad.format) == (0, "unreadable")
    assert "line 1 is not JSON" in bad.description


def test_loading_a_starter_set_imports_no_heavy_library():
    code = (
        "import sys\n"
        "from lora_engine.data import load_dataset\n"
        "from lora_engine.environment import load_settings\n"
        "from lora_engine.spec import DatasetSpec\n"
        "load_dataset(DatasetSpec(), load_settings())\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'pyarrow', 'numpy', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
