"""Columns that change what a row means: preferences, weights, pictures, and what is not read."""

import json

import pytest

from lora_engine.data import load_dataset, save_upload
from lora_engine.data.field_values import UnknownFormat
from lora_engine.data.objective_rows import refuse_other_objective
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import ObjectiveSpec, spec_from

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Ho"}
BAD = {"role": "assistant", "content": "Go away"}
FRUIT = {
    "conversations": [
        {"from": "human", "value": "Name a fruit."},
        {"from": "gpt", "value": "Apple."},
        {"from": "human", "value": "Another?"},
    ],
    "chosen": {"from": "gpt", "value": "Pear."},
    "rejected": {"from": "gpt", "value": "Brick."},
}
BINARIZED = {
    "prompt": "Hi",
    "messages": [USER, GOOD],
    "chosen": [USER, GOOD],
    "rejected": [USER, BAD],
    "score_chosen": 8.0,
    "score_rejected": 2.0,
}


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, models_dir=tmp_path)


@pytest.fixture
def read(tmp_path, settings):
    def made(*rows, name="rows.jsonl", **dataset):
        path = tmp_path / name
        path.write_text(rows[0] if name.endswith("csv") else "\n".join(map(json.dumps, rows)))
        spec = spec_from({"dataset": {"source": str(path), **dataset}}).dataset
        return load_dataset(spec, settings)

    return made


def turns(dataset):
    return [(turn.role, turn.content) for turn in dataset.rows[0].messages]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"question": "Hi", "response_j": "Ho", "response_k": "No"}, ["response_j", "response_k"]),
        (
            {"prompt": "Hi", "response_0": "Ho", "response_1": "No", "better_response_id": 0},
            ["response_0"],
        ),
        (
            {"prompt": "Hi", "completion": "Ho", "rejected_completion": "No"},
            ["rejected_completion"],
        ),
        ({"messages": [USER, GOOD], "rejected_response": "No"}, ["rejected_response"]),
        ({"instruction": "Hi", "output": "Ho", "rejected": True}, ["rejected"]),
    ],
)
def test_comparisons_are_refused_where_the_names_do_not_tell_the_better_answer(
    read, settings, tmp_path, row, columns
):
    with pytest.raises(UnknownFormat) as refused:
        read(row)
    assert all(column in refused.value.problem for column in columns)
    assert "1 row (1)" in refused.value.problem
    # an upload is kept until its columns are named
    assert save_upload(tmp_path / "rows.jsonl", "rows.jsonl", settings).rows == 0


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        (
            FRUIT,
            {"prompt": "conversations", "answer": "chosen"},
            [
                ("user", "Name a fruit."),
                ("assistant", "Apple."),
                ("user", "Another?"),
                ("assistant", "Pear."),
            ],
        ),
        (BINARIZED, {"messages": "chosen"}, [("user", "Hi"), ("assistant", "Ho")]),
        (
            BINARIZED,
            {"prompt": "prompt", "answer": "chosen"},
            [("user", "Hi"), ("assistant", "Ho")],
        ),
        (
            {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
            {"prompt": "prompt", "answer": "chosen"},
            [("user", "Hi"), ("assistant", "Ho")],
        ),
        (
            {"prompt": "Hi", "chosen": "Ho", "rejected": "No"},
            {"prompt": "prompt", "answer": "chosen"},
            [("user", "Hi"), ("assistant", "Ho")],
        ),
        (
            {
                "input": {"messages": [USER]},
                "preferred_output": [GOOD],
                "non_preferred_output": [BAD],
            },
            {"prompt": "input", "answer": "preferred_output"},
            [("user", "Hi"), ("assistant", "Ho")],
        ),
    ],
)
def test_the_mapping_of_the_remedy_learns_the_chosen_answer_alone(read, row, columns, expected):
    pairs = read(row)
    with pytest.raises(EngineError) as refused:
        refuse_other_objective(ObjectiveSpec(), pairs)
    assert pairs.format == "preference"
    assert "dpo" in refused.value.remedy
    if row is not BINARIZED or "messages" in columns:
        assert json.dumps(columns).strip("{}") in refused.value.remedy
    dataset = read(row, columns=columns)
    refuse_other_objective(ObjectiveSpec(), dataset)
    assert turns(dataset) == expected
    assert [
        t.content for t in dataset.rows[0].messages if t.role == "assistant" and t.is_learned
    ] == [expected[-1][1]]


def test_a_mapping_beside_the_preference_says_so(read):
    dataset = read(FRUIT, columns={"messages": "conversations"})
    assert any("chosen" in warning and "rejected" in warning for warning in dataset.warnings)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Ho"},
        {"messages": [USER, GOOD]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        {"instruction": "Hi", "output": "Ho"},
    ],
)
@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [("label", True, False), ("label", 1, 0), ("kto_tag", True, False), ("label", "true", "False")],
)
def test_answers_labelled_false_are_for_kto_and_true_ones_alone_for_any(
    read, row, column, good, bad
):
    judged = read({**row, column: good}, {**row, column: bad})
    assert judged.format == "kto"
    assert [row.is_desirable for row in judged.rows] == [True, False]
    with pytest.raises(EngineError, match="kto") as refused:
        refuse_other_objective(ObjectiveSpec(), judged)
    assert "objective kto" in refused.value.remedy
    only_good = read({**row, column: good})
    assert len(only_good.rows) == 1
    refuse_other_objective(ObjectiveSpec(), only_good)
    assert read({**row, column: good}, format="kto").rows[0].is_desirable is True


def test_a_label_that_is_a_class_is_no_verdict(read):
    assert (
        read({"text": "Fine.", "label": 0}, {"text": "Bad.", "label": 1}).format == "classification"
    )
    rows = [{"prompt": "Hi", "completion": "Ho", "label": label} for label in (0, 1, 2)]
    assert "label" in read(*rows).notes[0]
    assert read("text,label\nFine.,1\nBad.,0\n", name="rows.csv").format == "classification"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("weight", 0),
        ("weight", 0.5),
        ("loss_weight", "0.5"),
        ("sample_weight", 3),
        ("train", False),
    ],
)
def test_a_row_of_another_weight_is_refused(read, column, value):
    row = {"prompt": "Hi", "completion": "Ho"}
    with pytest.raises(UnknownFormat, match=f"'{column}'.* 1 row .2"):
        read({**row, column: 1}, {**row, column: value})
    assert len(read({**row, column: 1}, {**row, column: None}).rows) == 2
    named = read({**row, column: value}, columns={"prompt": "prompt", "answer": "completion"})
    assert f"'{column}'" in named.warnings[0]


@pytest.mark.parametrize(
    "column", ["image", "images", "image_path", "image_url", "audio", "audios", "videos", "Image"]
)
@pytest.mark.parametrize("value", ["a.jpg", ["a.jpg"], {"path": "a.jpg", "bytes": None}])
def test_pictures_are_refused_by_column_and_rows(read, column, value):
    row = {"messages": [{"role": "user", "content": "<image>What is this?"}, GOOD]}
    with pytest.raises(UnknownFormat, match=f"'{column}'.* 1 row .2"):
        read({**row, column: None}, {**row, column: value})
    assert len(read({**row, column: []}, {**row, column: ""}, row).rows) == 3


def test_bytes_are_refused_whatever_their_column_is_called(settings, tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"prompt": "Hi", "completion": "Ho", "scan": {"bytes": b"\x89PNG", "path": None}}]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(UnknownFormat, match="'scan'"):
        load_dataset(spec_from({"dataset": {"source": str(path)}}).dataset, settings)


def test_nulls_that_a_table_fills_in_say_nothing(settings, tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"messages": [{**USER, "weight": None}, {**GOOD, "weight": 0}], "images": None}]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    dataset = load_dataset(spec_from({"dataset": {"source": str(path)}}).dataset, settings)
    assert [turn.is_learned for turn in dataset.rows[0].messages] == [True, False]
    assert dataset.warnings == ()


def test_columns_not_read_are_listed_and_those_that_say_something_warned_of(read):
    row = {"prompt": "Hi", "completion": "Ho", "id": 3, "category": "greeting", "nothing": ""}
    dataset = read(row, {**row, "context": "At sea."})
    assert dataset.notes == ("Columns not read: id, category.",)
    (warning,) = dataset.warnings
    assert "'context'" in warning
    assert "1 row (2)" in warning


def test_a_column_that_repeats_what_was_read_is_not_missed(read):
    dataset = read({"messages": [USER, GOOD], "prompt": "Hi", "instruction": "Dance"})
    assert ["'instruction'" in warning for warning in dataset.warnings] == [True]


def test_scores_are_named(read):
    dataset = read({"prompt": "Hi", "completion": "Ho", "reward": -1.0})
    assert "'reward'" in dataset.warnings[0]


@pytest.mark.parametrize(
    ("row", "format", "expected"),
    [
        ({"question": "Hi", "answer": "Ho"}, "prompt_completion", [("user", "Hi")]),
        ({"query": "Hi", "response": "Ho"}, "prompt_completion", [("user", "Hi")]),
        ({"prompt": "Hi", "response": "Ho"}, "prompt_completion", [("user", "Hi")]),
        ({"input": "Hi", "output": "Ho"}, "prompt_completion", [("user", "Hi")]),
        ({"input": "Hi", "target": "Ho"}, "prompt_completion", [("user", "Hi")]),
        ({"instruction": "Hi", "response": "Ho"}, "alpaca", [("user", "Hi")]),
        (
            {"instruction": "Hi", "context": "Sea", "response": "Ho"},
            "alpaca",
            [("user", "Hi\n\nSea")],
        ),
        ({"conversation": [USER, GOOD]}, "messages", [("user", "Hi")]),
        ({"dialogue": [{"from": "human", "value": "Hi"}, GOOD]}, "messages", [("user", "Hi")]),
        ({"items": [USER, GOOD]}, "messages", [("user", "Hi")]),
        ({"turns": [USER, GOOD]}, "messages", [("user", "Hi")]),
        ({"prompt": [USER], "completion": [GOOD]}, "prompt_completion", [("user", "Hi")]),
        ({"messages": json.dumps([USER, GOOD])}, "messages", [("user", "Hi")]),
    ],
)
def test_usual_names_need_no_mapping(read, row, format, expected):
    dataset = read(row)
    assert dataset.format == format
    assert turns(dataset) == [*expected, ("assistant", "Ho")]
    if not {"completion", "messages"} & set(row):
        assert any(name in note for name in row for note in dataset.notes)


@pytest.mark.parametrize(
    ("column", "yes", "no"),
    [
        ("label", 1, -1),
        ("label", "1.0", "0.0"),
        ("label", "chosen", "Rejected"),
        ("feedback", "👍", "👎"),
        ("Is good", 1, 0),
        ("vote", "up", "down"),
    ],
)
def test_verdicts_in_other_words_are_judgements_of_answers(read, column, yes, no):
    chat = {"prompt": "Hi", "completion": "Ho"}
    dataset = read({**chat, column: yes}, {**chat, column: no})
    assert (dataset.format, [row.is_desirable for row in dataset.rows]) == ("kto", [True, False])


def test_a_no_among_words_that_are_no_verdicts_is_told(read):
    chat = {"prompt": "Hi", "completion": "Ho"}
    rows = [{**chat, "label": word} for word in ("great", "bad", "rejected", "so so")]
    (warning,) = read(*rows).warnings
    assert "'label'" in warning
    assert "2 rows (2, 3)" in warning
