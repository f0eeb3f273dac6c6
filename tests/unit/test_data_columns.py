"""Columns of any name: the mapping of the spec, what is found in a file, what is refused."""

import json

import pytest

from lora_engine.data import load_dataset
from lora_engine.data.formats import column_names
from lora_engine.data.sources import first_records
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, spec_from


@pytest.fixture
def read(tmp_path):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)

    def made(content, columns, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text(content)
        spec = spec_from({"dataset": {"source": str(path), "columns": columns}}).dataset
        return load_dataset(spec, settings)

    return made


def turns(dataset):
    return [(message.role, message.content) for message in dataset.rows[0].messages]


def test_prompt_answer_and_system_are_read_from_the_columns_named(read):
    row = json.dumps({"Frage": "Hi", "Antwort": "Ho", "Ton": "Be kind.", "id": 1})
    columns = {"prompt": "Frage", "answer": "Antwort", "system": "Ton"}
    dataset = read(row, columns)
    assert dataset.format == "prompt_completion"
    assert turns(dataset) == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Ho")]


def test_a_csv_with_a_spare_column_is_read_without_it(read):
    dataset = read("q,a,prompt\nHi,Ho,other\n", {"prompt": "q", "answer": "a"}, "rows.csv")
    assert turns(dataset) == [("user", "Hi"), ("assistant", "Ho")]


def test_a_column_of_turns_is_read_in_both_spellings(read):
    chat = [{"from": "human", "value": "Hi"}, {"role": "assistant", "content": "Ho"}]
    dataset = read(json.dumps({"dialog": chat}), {"messages": "dialog"})
    assert turns(dataset) == [("user", "Hi"), ("assistant", "Ho")]


def test_a_mapping_and_the_formats_own_names_give_the_same_rows(read):
    mapped = read('{"q": "Hi", "a": "Ho"}', {"prompt": "q", "answer": "a"})
    plain = read('{"prompt": "Hi", "completion": "Ho"}', {})
    assert mapped.content_hash == plain.content_hash


def test_a_column_that_is_not_there_is_named_with_the_row(read):
    rows = '{"q": "Hi", "a": "Ho"}\n{"q": "Hi"}'
    with pytest.raises(EngineError, match="row 2: .*'a'.* q"):
        read(rows, {"prompt": "q", "answer": "a"})


def test_plain_text_has_no_columns(read):
    with pytest.raises(EngineError, match="no columns"):
        read("Once upon a time.", {"text": "text"}, "story.txt")


@pytest.mark.parametrize(
    "dataset",
    [
        {"columns": {"prompt": "q"}},
        {"columns": {"messages": "m", "answer": "a"}},
        {"columns": {"prompt": "q", "answer": "a"}, "format": "alpaca"},
    ],
)
def test_columns_that_make_no_format_are_refused_by_their_path(dataset):
    with pytest.raises(InvalidInput) as refused:
        spec_from({"dataset": dataset})
    assert refused.value.problems[0].path.startswith("dataset")


def test_the_columns_of_a_file_that_fits_no_format_are_listed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"Frage": "Hi", "Antwort": "Ho"}')
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)
    assert column_names(first_records(DatasetSpec(source=str(path)), settings, 1)) == (
        "Frage",
        "Antwort",
    )
    with pytest.raises(EngineError, match=r"dataset\.columns"):
        load_dataset(DatasetSpec(source=str(path)), settings)


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"text": "Fine.", "label": "good"}, "classification"),
        ({"text": "Fine.", "label": 3}, "classification"),
        ({"tokens": ["A", "dog"], "tags": ["O", "ANIMAL"]}, "token_classification"),
    ],
)
def test_classification_rows_are_found_by_themselves(read, row, format):
    dataset = read(json.dumps(row), {})
    assert dataset.format == format
    (found,) = dataset.rows
    assert found.label == str(row["label"]) if "label" in row else found.tags == ("O", "ANIMAL")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "Fine.", "label": None}, "label is empty"),
        ({"text": "Fine.", "label": ""}, "label has 0 characters"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "1 tokens and 2 tags"),
        ({"tokens": "a", "tags": ["O"]}, "'tokens' is text, a list"),
        ({"tokens": [], "tags": []}, "'tokens' is an empty list"),
        ({"tokens": ["a"], "tags": [1.5]}, "a number \\(1.5\\); a class is"),
    ],
)
def test_wrong_classification_rows_are_named(read, row, message):
    with pytest.raises(EngineError, match=f"row 1: .*{message}"):
        read(json.dumps(row), {})


def test_words_that_stand_for_nothing_are_kept_and_told_with_their_rows(read):
    cells = ["Yes", "NULL", "nan", "None, thanks", "#N/A", ""]
    content = "note,prompt,completion\n" + "".join(
        f"NULL,Q{i},{c!r}\n" for i, c in enumerate(cells)
    )
    dataset = read(content.replace("'", '"'), {}, "rows.csv")
    assert [row.messages[1].content for row in dataset.rows] == cells
    (warning,) = [line for line in dataset.warnings if "'completion'" in line]
    assert "NULL, nan, #N/A" in warning
    assert "3 rows (2, 3, 5)" in warning
    assert not any("'prompt'" in line or "'note'" in line for line in dataset.warnings)


def test_a_class_may_be_called_none(read):
    assert read('{"text": "Hi", "label": "None"}\n{"text": "Ho", "label": "a"}', {}).warnings == ()


@pytest.mark.parametrize(
    ("header", "format", "roles"),
    [
        ("System Prompt,Question,Answer", "prompt_completion", ["system", "user", "assistant"]),
        ("INSTRUCTION,Input,Out-put,Output", "alpaca", ["user", "assistant"]),
        ("Topic,Prompt,Chosen,Rejected", "preference", ["user", "assistant"]),
    ],
)
def test_upper_case_and_spaces_in_usual_names_do_not_matter(read, header, format, roles):
    dataset = read(f"{header}\n" + ",".join(f"{name}!" for name in header.split(",")), {}, "a.csv")
    assert (dataset.format, [role for role, _ in turns(dataset)]) == (format, roles)
    assert turns(dataset)[0][1].startswith(("System Prompt!", "INSTRUCTION!\n\nInput!", "Prompt!"))


def test_two_spellings_of_one_name_are_refused(read):
    with pytest.raises(EngineError, match="Question, question, Answer"):
        read("Question,question,Answer\na,b,c\n", {}, "a.csv")


def test_python_in_a_cell_is_told_as_such(read):
    with pytest.raises(EngineError, match="row 1: .*single quotes"):
        read("messages\n\"[{'role': 'user', 'content': 'Hi'}]\"\n", {}, "a.csv")
