"""Early warnings: what the data alone says against a run."""

import json

import pytest

from lora_engine.advisor.early_warnings import early_warnings
from lora_engine.spec import spec_from


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def asked(number, answer):
    return {"prompt": f"What is thing {number}?", "completion": answer}


def problems(settings, source, **changes):
    spec = {"dataset": {"source": source, "eval_fraction": 0.1}, **changes}
    return " ".join(one.problem for one in early_warnings(spec_from(spec), settings))


@pytest.mark.parametrize("name", ["pirate", "json", "facts"])
def test_the_bundled_sets_give_no_warning(settings, name):
    assert problems(settings, f"starter:{name}") == ""


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([asked(n, "" if n == 3 else f"It is {n}.") for n in range(60)], "Empty answers: 1 of"),
        ([asked(n, "I do not know.") for n in range(60)], "One answer for most questions"),
        ([asked(n % 10, f"It is {n}.") for n in range(60)], "the loss cannot fall far"),
        ([asked(n, f"It is {n}.") for n in range(15)], "rows to train on"),
        ([asked(n, f"It is {n}. " + "cow " * 600) for n in range(60)], "Longer than the limit"),
    ],
)
def test_each_is_told_where_it_is(tmp_path, settings, rows, words):
    assert words in problems(settings, written(tmp_path / "rows.jsonl", rows))


def test_pairs_of_equal_answers_are_told(tmp_path, settings):
    rows = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": f"It is {n % 20}."}
        for n in range(60)
    ]
    source = written(tmp_path / "rows.jsonl", rows)
    assert "is the rejected one: " in problems(settings, source, objective={"kind": "dpo"})


def test_near_copies_of_held_out_rows_are_a_leak(tmp_path, settings):
    rows = [asked(n // 2, f"It is {n // 2}{'.' if n % 2 else '!'}") for n in range(80)]
    assert "Held-out rows" in problems(settings, written(tmp_path / "rows.jsonl", rows))


def test_a_rank_far_above_what_so_many_rows_take_is_told(tmp_path, settings):
    rows = written(tmp_path / "rows.jsonl", [asked(n, f"It is {n}.") for n in range(60)])
    assert "Rank 64" in problems(settings, rows, method={"rank": 64})
    assert problems(settings, rows, method={"rank": 32}) == ""


def test_rows_of_one_class_are_told(tmp_path, settings):
    rows = [{"text": f"A film of {n} minutes.", "label": "good"} for n in range(60)]
    source = written(tmp_path / "rows.jsonl", rows)
    said = problems(settings, source, task="sequence_classification")
    assert "the class 'good'" in said
