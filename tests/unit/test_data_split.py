"""The split: seeded, a partition, and no row with a twin on the other side."""

import json
import random
from dataclasses import replace

import pytest

from lora_engine.compare.prompts.held_out_rows import load_held_out_rows
from lora_engine.data import Dataset, Message, Row, split_rows
from lora_engine.data.rows import hash_rows
from lora_engine.data.split import count_twins, rows_never_seen, split_hash
from lora_engine.data.twins import content_key
from lora_engine.errors import EngineError
from lora_engine.settings import Settings


def dataset_of(rows) -> Dataset:
    numbered = tuple(replace(row, number=place) for place, row in enumerate(rows, start=1))
    return Dataset("made", "text", numbered, hash_rows(numbered))


def pair(question: str, answer: str, **more) -> Row:
    return Row(0, (Message("user", question), Message("assistant", answer, **more)), None)


def keys(rows) -> set[bytes]:
    return {content_key(row) for row in rows}


@pytest.mark.parametrize("seed", range(5))
def test_ten_copies_of_twenty_rows_leave_no_copy_in_training(seed):
    dataset = dataset_of([pair(f"Q{n % 20}", f"A{n % 20}") for n in range(200)])
    training, evaluation = split_rows(dataset, 0.1, seed)
    assert (len(training), len(evaluation)) == (180, 20)
    assert not keys(training) & keys(evaluation)
    assert sorted(row.number for row in training + evaluation) == list(range(1, 201))
    assert split_rows(dataset, 0.1, seed) == (training, evaluation)


def test_one_pair_of_twins_never_crosses():
    dataset = dataset_of([pair(f"Q{n % 19}", "A") for n in range(20)])
    sides = [split_rows(dataset, 0.1, seed) for seed in range(60)]
    assert all(not keys(training) & keys(evaluation) for training, evaluation in sides)
    assert {len(evaluation) for _, evaluation in sides} <= {1, 2}
    assert any(content_key(dataset.rows[0]) in keys(evaluation) for _, evaluation in sides)


@pytest.mark.parametrize(("count", "share", "seed"), [(20, 0.1, 3), (360, 0.1, 0), (7, 0.5, 9)])
def test_rows_without_twins_are_drawn_as_they_always_were(count, share, seed):
    dataset = dataset_of([Row(0, (), f"row {n}") for n in range(count)])
    drawn = random.Random(seed).sample(range(count), max(1, round(count * share)))
    _, evaluation = split_rows(dataset, share, seed)
    assert [row.number - 1 for row in evaluation] == sorted(drawn)


@pytest.mark.parametrize(
    ("one", "other", "twins"),
    [
        (pair("Hi", "Ho"), pair(" Hi\n", "Ho "), True),
        (pair("caf\u00e9", "Ho"), pair("cafe\u0301", "Ho"), True),
        (pair("Hi", "Ho", is_learned=False), pair("Hi", "Ho"), True),
        (pair("Hi", "Ho"), pair("Hi", "Hey"), False),
        (pair("Hi", "Ho", reasoning="hm"), pair("Hi", "Ho"), False),
        (pair("Hi", "Ho"), pair("hi", "Ho"), False),
        (Row(0, (), "good day", label="a"), Row(0, (), "good  day", label="b"), True),
        (Row(0, (), None, words=("a", "b"), tags=("O", "O")), Row(0, (), None, words=("a", "b"),
                                                                    tags=("X", "O")), True),
        (Row(0, (), "passage", continues=True), Row(0, (), "passage"), True),
        (Row(0, (), "Hi"), Row(0, (Message("user", "Hi"),), None), False),
        (replace(pair("Hi", "Ho"), tools="[1]"), pair("Hi", "Ho"), False),
    ],
)  # fmt: skip
def test_what_counts_as_a_twin(one, other, twins):
    assert (count_twins([one, other]) == 1) is twins
    dataset = dataset_of([one, other, pair("else", "else")])
    together = {
        len({row.number for row in evaluation} & {1, 2})
        for _, evaluation in (split_rows(dataset, 0.4, seed) for seed in range(20))
    }
    assert (1 in together) is not twins


def test_rows_that_all_say_the_same_cannot_be_split():
    dataset = dataset_of([pair("Hi", "Ho")] * 12)
    with pytest.raises(EngineError, match="made has 12 rows that all say the same"):
        split_rows(dataset, 0.1, 0)
    assert split_rows(dataset, 0.0, 0) == (dataset.rows, ())


def test_a_group_larger_than_the_share_leaves_the_smallest_one_for_evaluation():
    dataset = dataset_of([pair("a", "a")] * 30 + [pair("b", "b")] * 6)
    training, evaluation = split_rows(dataset, 0.1, 0)
    assert [row.messages[0].content for row in evaluation] == ["b"] * 6
    assert len(training) == 30


def test_a_run_from_before_is_told_apart_and_its_seen_rows_are_left_out():
    dataset = dataset_of([pair(f"Q{n % 30}", "A") for n in range(40)])
    assert split_hash(dataset, 0.1) != dataset.content_hash
    assert split_hash(dataset, 0.0) == dataset.content_hash
    alone = dataset_of([pair(f"Q{n}", "A") for n in range(40)])
    assert split_hash(alone, 0.1) == alone.content_hash
    drawn = {place + 1 for place in random.Random(0).sample(range(40), 10)}
    never_seen = {row.number for row in rows_never_seen(dataset, 0.25, 0, dataset.content_hash)}
    trained = keys(row for row in dataset.rows if row.number not in drawn)
    assert never_seen == {n for n in drawn if content_key(dataset.rows[n - 1]) not in trained}
    assert 0 < len(never_seen) < 10
    now = rows_never_seen(dataset, 0.25, 0, split_hash(dataset, 0.25))
    assert now == split_rows(dataset, 0.25, 0)[1]


def test_held_out_rows_of_an_adapter_have_no_twin_in_its_training(tmp_path):
    rows = [{"prompt": f"Q{n % 20}", "completion": "A"} for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = {"base_model": "starter", "dataset": {"source": str(tmp_path / "rows.jsonl")}}
    (tmp_path / "provenance.json").write_text(json.dumps({"spec": spec, "data_hash": "another"}))
    held_out = load_held_out_rows(tmp_path, Settings(data_dir=tmp_path, models_dir=tmp_path))
    assert len(held_out) == 20
    assert len(keys(held_out)) == 2


@pytest.mark.parametrize(("share", "seed"), [(0.1, 0), (0.3, 4), (0.02, 7)])
def test_groups_of_twins_are_drawn_as_they_always_were(share, seed):
    """Written once more with lists, as it was before the split drew on arrays."""
    dataset = dataset_of([pair(f"Q{n * n % 31}", f"A{n % 2}") for n in range(90)])
    groups = {}
    for place, row in enumerate(dataset.rows):
        groups.setdefault(content_key(row), []).append(place)
    groups = list(groups.values())
    assert 2 < len(groups) < 90
    wanted, drawn = max(1, round(90 * share)), []
    for group in random.Random(seed).sample(groups, len(groups)):
        if len(drawn) + len(group) <= wanted:
            drawn += group
    expected = sorted(drawn or min(groups, key=len))
    training, evaluation = split_rows(dataset, share, seed)
    assert [row.number - 1 for row in evaluation] == expected
    assert [row.number - 1 for row in training] == sorted({*range(90)} - {*expected})
