"""Sets too large for memory: the same rows, tokens, split and errors as small ones have."""

import gzip
import json
import os
import random
from types import SimpleNamespace

import numpy as np
import pytest

from lora_engine.data import (
    json_rows,
    load_dataset,
    parquet_rows,
    record_files,
    row_cache,
    row_store,
    split_rows,
)
from lora_engine.data.cache_folder import MANIFEST, CacheFolder
from lora_engine.data.json_rows import json_array
from lora_engine.data.picked import Picked
from lora_engine.data.record_files import FileRecords, read_records
from lora_engine.data.row_store import StoredRows, content_hash_of, row_keys, row_numbers
from lora_engine.data.rows import Message, Row, hash_rows
from lora_engine.data.seeded_order import sampled, shuffled
from lora_engine.data.split import rows_never_seen, split_hash
from lora_engine.data.token_cache import TokenCache
from lora_engine.data.token_store import StoredTokens, learned_of, lengths_of, pieces_of
from lora_engine.data.tokenization import tokenize
from lora_engine.errors import EngineError
from lora_engine.language import speaking
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec
from lora_engine.training.forward.select import _probe_rows
from lora_engine.training.reporting.sample_answers import prompts_from_rows
from tests.tiny import save_tiny_tokenizer
from tests.unit.test_data_files import BAD

CHATS = [
    {"prompt": f"Which is thing {n % 40}?", "completion": "Blue. " * (n % 7 + 1), "topic": "things"}
    for n in range(60)
]
TEXTS = [{"text": f"Thing {n} is blue. \u00e9\U0001f600"} for n in range(60)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models")


@pytest.fixture
def large(monkeypatch):
    """Everything is large: files are read anew, rows and tokens lie on disk, in small batches."""
    monkeypatch.setattr(record_files, "SMALL_BYTES", 0)
    monkeypatch.setattr(row_cache, "LARGE_ROWS", 5)
    monkeypatch.setattr(row_store, "LARGE_ROWS", 5)
    monkeypatch.setattr(row_store, "BATCH_ROWS", 7)
    monkeypatch.setattr(row_cache, "FRESH_S", -1e9)


def written(folder, rows, name="rows.jsonl"):
    path = folder / name
    content = "\n".join(map(json.dumps, rows)).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return DatasetSpec(source=str(path))


def both(spec, settings, monkeypatch):
    """The set in memory, and the same one on disk."""
    in_memory = load_dataset(spec, settings)
    with monkeypatch.context() as patch:
        patch.setattr(row_cache, "LARGE_ROWS", 5)
        patch.setattr(row_store, "BATCH_ROWS", 7)
        on_disk = load_dataset(spec, settings)
    assert isinstance(in_memory.rows, tuple)
    assert isinstance(on_disk.rows, StoredRows)
    return in_memory, on_disk


@pytest.mark.parametrize("rows", [CHATS, TEXTS], ids=["chats", "texts"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_on_disk_are_the_rows(tmp_path, settings, monkeypatch, rows, name):
    in_memory, on_disk = both(written(tmp_path, rows, name), settings, monkeypatch)
    assert tuple(on_disk.rows) == in_memory.rows
    assert [on_disk.rows[place] for place in (0, 41, -1)] == [
        in_memory.rows[place] for place in (0, 41, -1)
    ]
    assert tuple(on_disk.rows[3:50:9]) == in_memory.rows[3:50:9]
    assert (on_disk.content_hash, on_disk.notes) == (in_memory.content_hash, in_memory.notes)
    assert content_hash_of(on_disk.rows) == hash_rows(in_memory.rows)
    assert row_numbers(on_disk.rows).tolist() == [row.number for row in in_memory.rows]
    assert row_keys(on_disk.rows).tolist() == row_keys(in_memory.rows).tolist()


def test_every_field_of_a_row_comes_back(tmp_path):
    turn = Message("assistant", "a", "r", "[1]", "{}", False, False)
    rows = [
        Row(1, (Message("user", "\ud800"), turn), None, tools="[]", rejected=(turn,)),
        Row(7, (), None, words=("a", "b"), tags=("A", "B")),
        Row(8, (), "t", continues=True, label="l", is_desirable=False),
    ]
    folder = CacheFolder(tmp_path, 10**6)
    with folder.new_entry("one.rows") as entry:
        entry.report["content_hash"] = row_store.write_rows(entry, rows)
    found = folder.open_entry("one.rows")
    assert list(StoredRows(found, found.report["content_hash"])) == rows
    assert found.report["content_hash"] == hash_rows(rows)


def test_the_second_time_a_large_file_is_not_parsed(tmp_path, settings, large, monkeypatch):
    spec = written(tmp_path, CHATS)
    first = load_dataset(spec, settings)
    with monkeypatch.context() as patch:
        patch.setattr("lora_engine.data.sources.parse_rows", None)  # would fail if it were called
        again = load_dataset(spec, settings)
        assert (list(again.rows), again.notes) == (list(first.rows), first.notes)
        with pytest.raises(TypeError):
            load_dataset(spec.model_copy(update={"reasoning": "strip"}), settings)
    written(tmp_path, CHATS[1:])
    assert len(load_dataset(spec, settings).rows) == len(CHATS) - 1


def test_what_is_kept_of_a_large_file_is_said_in_its_reader_s_language(tmp_path, settings, large):
    path = tmp_path / "rows.jsonl"
    rows = [{**row, "context": f"It is said {place} times."} for place, row in enumerate(CHATS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    os.utime(path, (1, 1))
    spec = DatasetSpec(source=str(path))
    with speaking("zh"):
        made = load_dataset(spec, settings)
    kept = load_dataset(spec, settings)

    assert isinstance(kept.rows, StoredRows)
    assert kept.warnings == ("Column 'context' is not read: 60 rows (1, 2, 3, 4, 5, ...).",)
    assert made.warnings
    assert set(made.warnings).isdisjoint(kept.warnings)


@pytest.mark.parametrize("rows", [CHATS, [row | {"n": n} for n, row in enumerate(TEXTS)]])
def test_the_split_is_the_same_from_memory_and_from_disk(tmp_path, settings, monkeypatch, rows):
    spec = written(tmp_path, rows)
    in_memory, on_disk = both(spec, settings, monkeypatch)
    for seed in range(3):
        expected = split_rows(in_memory, 0.2, seed)
        found = split_rows(on_disk, 0.2, seed)
        assert all(isinstance(side, Picked) for side in found)
        assert tuple(map(tuple, found)) == expected
        assert split_hash(on_disk, 0.2) == split_hash(in_memory, 0.2)
        seen = on_disk.content_hash
        assert tuple(rows_never_seen(on_disk, 0.2, seed, seen)) == rows_never_seen(
            in_memory, 0.2, seed, seen
        )


@pytest.mark.parametrize("rows", [CHATS, TEXTS], ids=["chats", "texts"])
def test_tokens_on_disk_are_the_tokens(tmp_path, settings, large, tokenizer, rows):
    dataset = load_dataset(written(tmp_path, rows), settings)
    expected = tokenize(tuple(dataset.rows), tokenizer, 24)
    cache = TokenCache(settings.token_cache_dir, 10**7)
    for _ in range(2):
        found = cache.tokenize(dataset.rows, tokenizer, 24)
        assert isinstance(found.rows, StoredTokens)
        assert tuple(found.rows) == expected.rows
        assert found.rows[-1] == expected.rows[-1]
        assert (found.cut, found.warnings) == (expected.cut, expected.warnings)
        assert lengths_of(found.rows).tolist() == lengths_of(expected.rows).tolist()
        assert learned_of(found.rows).tolist() == learned_of(expected.rows).tolist()
    training, evaluation = split_rows(dataset, 0.2, 0)
    for side in (training, evaluation):
        assert tuple(pieces_of(found.rows, side)) == pieces_of(expected.rows, tuple(side))


def test_rows_find_what_they_became_in_any_order_and_more_than_once(tokenizer):
    rows = [Row(n, (), "Blue things. " * (40 if n % 2 else 1)) for n in range(1, 6)]
    tokens = tokenize(rows, tokenizer, 16).rows
    kept = tuple(piece for piece in tokens if piece.number != 4)
    assert len(kept) > 20
    for order in ([0, 1, 2, 3, 4], [4, 1, 1, 3, 0]):
        wanted = tuple(rows[place] for place in order)
        expected = [piece for row in wanted for piece in kept if piece.number == row.number]
        assert list(pieces_of(kept, wanted)) == expected
        turned = tuple(sorted(kept, key=lambda piece: -piece.number))
        assert list(pieces_of(turned, wanted)) == expected


@pytest.mark.parametrize(("content", "name", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named_in_a_large_file_too(tmp_path, settings, large, content, name, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EngineError, match=message):
        load_dataset(DatasetSpec(source=str(path)), settings)
    kept = [*settings.token_cache_dir.glob("*")] if settings.token_cache_dir.exists() else []
    assert kept == []


@pytest.mark.parametrize("declared", ["auto", "messages"])
@pytest.mark.parametrize("empty", [[], {}])
def test_a_file_of_empty_elements_is_refused_after_the_first_ones(
    tmp_path, settings, large, monkeypatch, declared, empty
):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([empty] * 5_000))
    read = []

    def counted(file):
        for one in json_array(file):
            read.append(one)
            yield one

    monkeypatch.setattr(record_files, "json_array", counted)
    with pytest.raises(EngineError, match="row 1 fits no known format"):
        load_dataset(DatasetSpec(source=str(path), format=declared), settings)
    assert len(read) <= 100


def test_an_endless_line_is_refused_before_it_is_read(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(record_files, "MAX_LINE_CHARACTERS", 1_000)
    row = json.dumps({"text": "x"})
    spec = written(tmp_path, [])
    for name, content, found in (
        ("a.jsonl", f"{row}\n{row}\n{'[' * 5_000}", "line 3 has more than 1,000 characters"),
        ("a.csv", f"text\nx\n{'x' * 5_000}\n", "line 3 has more than 1,000 characters"),
    ):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(EngineError, match=found):
            load_dataset(spec.model_copy(update={"source": str(path)}), settings)


def test_what_unpacks_out_of_proportion_is_refused(tmp_path, settings, monkeypatch):
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr(record_files, "MAX_DOCUMENT_BYTES", 100_000)
    row = json.dumps({"text": "a" * 1_000}) + "\n"
    packed = tmp_path / "bomb.jsonl.gz"
    packed.write_bytes(gzip.compress((row * 5_000).encode()))
    table = tmp_path / "bomb.parquet"
    parquet.write_table(pyarrow.table({"text": ["a" * 1_000] * 9_000}), table, compression="zstd")
    for path in (packed, table):
        most = max(100_000, record_files.MAX_RATIO * path.stat().st_size)
        with pytest.raises(EngineError, match=f"unpacks to more than {most:,} bytes"):
            load_dataset(DatasetSpec(source=str(path)), settings)
    lines = "".join(json.dumps({"text": random.Random(n).randbytes(40).hex()}) for n in range(3))
    packed.write_bytes(gzip.compress(lines.replace("}{", "}\n{").encode()))
    assert len(load_dataset(DatasetSpec(source=str(packed)), settings).rows) == 3


def test_a_few_bytes_that_make_many_values_are_refused_before_they_do(
    tmp_path, settings, monkeypatch
):
    monkeypatch.setattr(json_rows, "MAX_VALUES", 2_000)
    monkeypatch.setattr(json_rows, "MAX_LINE_VALUES", 1_000)
    row = {"text": "[],{},\\" * 1_000, "x": []}  # what stands inside a text is no value
    lists = json.dumps({"text": "a", "x": [[]] * 3_000})
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(f"{json.dumps(row)}\n{lists}\n".encode()))
    with pytest.raises(EngineError, match="line 2: more than 1,000 values"):
        load_dataset(DatasetSpec(source=str(packed)), settings)
    document = tmp_path / "rows.json"
    document.write_text(f"[{lists}]")
    with monkeypatch.context() as patch:
        patch.setattr("lora_engine.data.json_array.READ_CHARACTERS", 2_000)
        with pytest.raises(EngineError, match="row 1 has more than .* 1,000 values"):
            load_dataset(DatasetSpec(source=str(document)), settings)
    document.write_text(f'{{"x": {lists}}}')
    with pytest.raises(EngineError, match="more than 2,000 values"):
        load_dataset(DatasetSpec(source=str(document)), settings)
    document.write_text(json.dumps([row]))
    assert len(load_dataset(DatasetSpec(source=str(document)), settings).rows) == 1


@pytest.mark.parametrize("written", [{"store_schema": True}, {"store_schema": False}])
def test_one_long_text_that_many_rows_point_to_is_read_row_by_row(tmp_path, monkeypatch, written):
    import pyarrow.ipc
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 500), ["x" * 300_000])
    parquet.write_table(pyarrow.table({"text": texts}), path, compression="zstd", **written)
    monkeypatch.setattr(parquet_rows, "BATCH_BYTES", 1_000_000)
    read = []

    def go_through():
        for piece in parquet_rows.unpacked(path, "rows", 30_000_000, 100):
            with pyarrow.ipc.open_stream(piece) as stream:
                read.append(stream.read_next_batch().num_rows)

    with pytest.raises(EngineError, match="unpacks to more than 30,000,000 bytes"):
        go_through()
    assert max(read) <= 3
    assert sum(read) <= 110


def test_one_json_document_is_bounded_and_told_apart_from_lines(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(record_files, "MAX_WHOLE_BYTES", 1_000)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"text": "x" * 50}] * 40}))
    with pytest.raises(EngineError, match="one JSON document of more than 1,000 bytes"):
        load_dataset(DatasetSpec(source=str(path)), settings)
    path.write_text("\n".join([json.dumps({"text": "x" * 50})] * 40))
    assert len(load_dataset(DatasetSpec(source=str(path)), settings).rows) == 40


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, large):
    spec = written(tmp_path, CHATS)
    path = tmp_path / "rows.jsonl"
    records = read_records(path, "rows")
    assert isinstance(records, FileRecords)
    assert records.names == ("prompt", "completion", "topic")
    assert (len(records), records[-1].number, records[2:4][0].number) == (60, 60, 3)
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{broken\n')
    broken = read_records(tmp_path / "broken.jsonl", "broken")
    assert next(iter(broken)).value == {"text": "a"}
    with pytest.raises(EngineError, match="line 3: not JSON"):
        len(broken)
    written(tmp_path, CHATS[:7])
    with pytest.raises(EngineError, match="changed while it was read"):
        list(records)
    assert spec


def test_a_file_of_this_moment_is_not_taken_for_what_it_was(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(row_cache, "LARGE_ROWS", 5)
    spec = written(tmp_path, CHATS)
    assert len(load_dataset(spec, settings).rows) == 60
    assert list(settings.token_cache_dir.iterdir()) == []


def test_a_damaged_entry_is_made_again(tmp_path, settings, large):
    spec = written(tmp_path, CHATS)
    expected = list(load_dataset(spec, settings).rows)
    (entry,) = settings.token_cache_dir.iterdir()
    for name in (row_store.ROWS, row_store.KEYS, MANIFEST):
        file = entry / name
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        assert list(load_dataset(spec, settings).rows) == expected
        os.truncate(file, 10)
        assert list(load_dataset(spec, settings).rows) == expected
        file.unlink()
        assert list(load_dataset(spec, settings).rows) == expected


def test_an_entry_in_use_stays_and_goes_when_nobody_reads_it(tmp_path, settings, large):
    held = load_dataset(written(tmp_path, CHATS), settings).rows
    (entry,) = settings.token_cache_dir.iterdir()
    tight = CacheFolder(settings.token_cache_dir, 0)
    tight.remove_oldest()
    assert entry.exists()
    assert held[59].number == 60
    del held
    tight.remove_oldest()
    assert not entry.exists()


def test_what_takes_hours_to_write_is_not_taken_for_a_left_over(tmp_path):
    folder = CacheFolder(tmp_path, 10**6)
    with folder.new_entry("one.rows") as entry:
        (staging,) = tmp_path.iterdir()
        os.utime(staging, (1, 1))
        folder.remove_oldest()
        entry.report["content_hash"] = row_store.write_rows(entry, [Row(1, (), "Slow.")])
    found = folder.open_entry("one.rows")
    assert [row.text for row in StoredRows(found, "")] == ["Slow."]
    assert list(tmp_path.iterdir()) == [tmp_path / "one.rows"]


def test_a_set_without_room_in_the_cache_is_read_all_the_same(tmp_path, large):
    settings = Settings(data_dir=tmp_path / "d", models_dir=tmp_path, max_cache_mb=0)
    rows = load_dataset(written(tmp_path, CHATS), settings).rows
    assert [row.number for row in rows] == list(range(1, 61))
    assert list(settings.token_cache_dir.iterdir()) == []


def test_a_disk_that_refuses_is_told(tmp_path, settings, large, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match=r"takes no more: No space left.*") as told:
        load_dataset(written(tmp_path, CHATS), settings)
    assert "LORA_DATA_DIR" in told.value.remedy
    assert list(settings.token_cache_dir.iterdir()) == []


def test_orders_of_many_are_permutations_that_stay_the_same(monkeypatch):
    list_order = list(range(50))
    random.Random("3:1").shuffle(list_order)
    assert shuffled(50, "3:1").tolist() == list_order
    assert sampled(50, 7, 3).tolist() == random.Random(3).sample(range(50), 7)
    monkeypatch.setattr("lora_engine.data.seeded_order.MOST_SHUFFLED", 10)
    many = shuffled(50, "3:1")
    assert sorted(many.tolist()) == list(range(50))
    assert many[:6].tolist() == [4, 13, 46, 44, 47, 10]
    assert not np.array_equal(many, shuffled(50, "3:2"))
    assert sampled(50, 5, "3:1").tolist() == many[:5].tolist()


def test_a_run_reads_no_row_for_its_length_or_for_questions_it_does_not_ask(
    tmp_path, settings, large, tokenizer, monkeypatch
):
    dataset = load_dataset(written(tmp_path, CHATS), settings)
    rows = TokenCache(settings.token_cache_dir, 10**7).tokenize(dataset.rows, tokenizer, 24).rows
    longest = sorted(rows, key=lambda row: len(row.input_ids))[-2:]
    expected = [row.input_ids[:40] for row in reversed(longest)]

    def gone_through(_):
        raise AssertionError("every row is read")

    monkeypatch.setattr(StoredTokens, "__iter__", gone_through)
    probe = _probe_rows(SimpleNamespace(config=SimpleNamespace()), rows)
    for ids, row in zip(expected, probe, strict=True):
        assert row.input_ids[:40] == ids[: len(row.input_ids)]

    def first_only(rows):
        yield from (rows[place] for place in range(3))
        raise AssertionError("more rows are read than are asked")

    monkeypatch.setattr(StoredTokens, "__iter__", first_only)
    monkeypatch.setattr(StoredRows, "__iter__", first_only)
    prompts = prompts_from_rows(dataset.rows, rows, tokenizer, 2)
    assert [prompt.text for prompt in prompts] == ["Which is thing 0?", "Which is thing 1?"]


def test_a_small_file_of_many_rows_is_not_held_in_memory(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 21))
    monkeypatch.setattr(record_files, "SMALL_ROWS", 20)
    found = read_records(path, "rows")
    assert isinstance(found, FileRecords)
    assert len(found) == 21
