"""Tokenized rows on disk: the same as made anew, whatever happened to the file."""

import json
import os
from dataclasses import replace

import pytest

from lora_engine.data import token_cache
from lora_engine.data.class_labels import label_rows, labels_of
from lora_engine.data.rows import Message, Row
from lora_engine.data.token_cache import TokenCache, cache_key
from lora_engine.data.tokenization import tokenize
from lora_engine.language import speaking
from tests.tiny import save_tiny_tokenizer

ROWS = [
    Row(n, (Message("user", f"Thing {n}?"), Message("assistant", "Blue. " * n)), None)
    for n in range(1, 30)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def cache(tmp_path):
    return TokenCache(tmp_path / "cache", 10_000_000)


@pytest.fixture
def count(monkeypatch):
    """How often rows were really tokenized."""
    made = []
    monkeypatch.setattr(token_cache, "tokenize", lambda *given: made.append(1) or tokenize(*given))
    return made


def files(cache):
    return sorted(cache.folder.glob("*"))


def test_what_is_read_is_what_was_made(cache, tokenizer, count):
    expected = tokenize(ROWS, tokenizer, 24)
    assert expected.cut
    assert [cache.tokenize(ROWS, tokenizer, 24) for _ in "12"] == [expected] * 2
    assert len(count) == 1
    assert len(files(cache)) == 1


def test_plain_texts_and_rows_left_out_come_back_too(cache, tokenizer):
    rows = [Row(1, (), "Once upon a time. " * 20), Row(3, (), "The end.", continues=True)]
    assert [cache.tokenize(rows, tokenizer, 16) for _ in "12"] == [
        tokenize(rows, tokenizer, 16)
    ] * 2


TEXTS = [Row(n, (), f"Thing {n} is blue. " * n, label="yes" if n % 2 else "no") for n in range(9)]
WORDS = [Row(1, (), None, words=("Blue", "things"), tags=("A", "B")),
         Row(4, (), None, words=("Grass",), tags=("A",))]  # fmt: skip


@pytest.mark.parametrize("rows", [TEXTS, WORDS], ids=["texts", "words"])
def test_classified_rows_come_back_with_their_classes(cache, tokenizer, monkeypatch, rows):
    made = []
    monkeypatch.setattr(
        token_cache, "label_rows", lambda *given: made.append(1) or label_rows(*given)
    )
    labels = labels_of(rows)
    expected = label_rows(rows, tokenizer, 12, labels)
    assert expected.rows
    assert [cache.label_rows(rows, tokenizer, 12, labels) for _ in "12"] == [expected] * 2
    assert len(made) == 1
    cache.label_rows(rows, tokenizer, 12, labels[::-1])
    assert len(made) == 2


def test_whatever_changes_the_tokens_changes_the_key(tokenizer, tmp_path):
    other = save_tiny_tokenizer(tmp_path)
    keys = [
        cache_key(ROWS, tokenizer, 24),
        cache_key(ROWS, tokenizer, 25),
        cache_key(ROWS[1:], tokenizer, 24),
    ]
    assert cache_key(ROWS, other, 24) == keys[0]
    other.chat_template = tokenizer.chat_template + "."
    keys.append(cache_key(ROWS, other, 24))
    other.chat_template = tokenizer.chat_template
    other.add_special_tokens({"additional_special_tokens": ["<more>"]})
    keys.append(cache_key(ROWS, other, 24))
    keys.append(cache_key([replace(ROWS[0], number=99), *ROWS[1:]], tokenizer, 24))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_half_written_file_is_made_again(cache, tokenizer, count, share):
    expected = cache.tokenize(ROWS, tokenizer, 24)
    (path,) = files(cache)
    os.truncate(path, int(path.stat().st_size * share))
    assert cache.tokenize(ROWS, tokenizer, 24) == expected
    assert len(count) == 2
    assert cache.tokenize(ROWS, tokenizer, 24) == expected
    assert len(count) == 2


def test_a_flipped_bit_is_noticed(cache, tokenizer, count):
    expected = cache.tokenize(ROWS, tokenizer, 24)
    (path,) = files(cache)
    data = bytearray(path.read_bytes())
    middle = data.index(b"input_ids") + 250
    data[middle] ^= 1
    path.write_bytes(data)
    assert cache.tokenize(ROWS, tokenizer, 24) == expected
    assert len(count) == 2


def test_the_folder_stays_under_its_size_and_keeps_the_newest(tmp_path, tokenizer):
    generous = TokenCache(tmp_path, 10_000_000)
    generous.tokenize(ROWS, tokenizer, 24)
    (first,) = files(generous)
    os.utime(first, (1, 1))
    tight = TokenCache(tmp_path, int(first.stat().st_size * 1.5))
    tight.tokenize(ROWS, tokenizer, 25)
    (left,) = files(tight)
    assert left != first
    assert TokenCache(tmp_path / "none", 0).tokenize(ROWS, tokenizer, 24) is not None
    assert files(TokenCache(tmp_path / "none", 0)) == []


def test_a_disk_that_refuses_costs_nothing_but_time(cache, tokenizer, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_cache, "_write", full)
    assert cache.tokenize(ROWS, tokenizer, 24) == tokenize(ROWS, tokenizer, 24)
    assert files(cache) == []


def test_a_template_that_writes_the_date_is_not_kept(cache, tmp_path):
    dated = save_tiny_tokenizer(tmp_path)
    dated.chat_template = "{{ strftime_now('%d') }}" + dated.chat_template
    cache.tokenize(ROWS, dated, 64)
    assert not cache.folder.exists() or files(cache) == []


def test_what_a_slow_tokenizer_made_is_not_kept(cache, tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    expected = label_rows(TEXTS, tokenizer, 24, ("no", "yes"))
    assert cache.label_rows(TEXTS, tokenizer, 24, ("no", "yes")) == expected
    assert not cache.folder.exists()


def test_the_report_is_plain_json(cache, tokenizer):
    import numpy as np

    cache.tokenize(ROWS, tokenizer, 24)
    with np.load(files(cache)[0], allow_pickle=False) as file:
        assert set(json.loads(file["report"].tobytes())) == {
            "template",
            *token_cache.REPORT,
            "warnings",
        }


def test_warnings_that_are_kept_are_said_in_the_language_of_their_reader(cache, tokenizer):
    with speaking("zh"):
        made = cache.tokenize(ROWS, tokenizer, 24)
    kept = cache.tokenize(ROWS, tokenizer, 24)

    assert kept.warnings == tokenize(ROWS, tokenizer, 24).warnings
    assert kept.warnings
    assert set(kept.warnings).isdisjoint(made.warnings)
