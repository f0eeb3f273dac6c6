"""Prompts from files: what is taken as a prompt, and the line that is named when none is there."""

import pytest

from lora_engine.compare.prompts.prompt_file import (
    PromptCase,
    case_from_row,
    parse_cases,
    read_cases,
    read_prompts,
)
from lora_engine.data import Message, Row
from lora_engine.errors import EngineError, NotFound


def test_json_lines_of_every_form(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '"plain"\n{"prompt": "a"}\n{"instruction": "b", "output": "x"}\n\n'
        '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "c"}]}\n'
    )
    assert read_prompts(path) == ["plain", "a", "b", "c"]


def test_plain_text_is_one_prompt_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffone\n\n two \n", "utf-8")
    assert read_prompts(path) == ["one", "two"]


@pytest.mark.parametrize("line", ["{", "3", "{}", '{"prompt": ""}', '{"messages": []}', "[1]"])
def test_a_line_without_a_prompt_is_named(tmp_path, line):
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'"fine"\n{line}\n')
    with pytest.raises(EngineError, match="Line 2"):
        read_prompts(path)


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path):
    with pytest.raises(NotFound):
        read_prompts(tmp_path / "nowhere.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EngineError, match="UTF-8"):
        read_prompts(tmp_path / "binary.txt")


def test_a_csv_gives_the_prompt_and_what_is_expected(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text('question;answer\n"one; two";x\nthree;\n')
    assert read_cases(path) == [PromptCase("one; two", "x"), PromptCase("three", "")]
    path.write_text("colour\nblue\n")
    with pytest.raises(EngineError, match="Row 1 holds no prompt"):
        read_cases(path)


def test_a_field_takes_bare_lines_and_objects_and_lines_are_read_back():
    cases = [
        PromptCase("plain"),
        PromptCase("two\nlines"),
        PromptCase("x", "y"),
        PromptCase("{not an object"),
    ]
    assert parse_cases("\n".join(case.as_line() for case in cases)) == cases
    with pytest.raises(EngineError, match="Line 2 is not JSON"):
        parse_cases("fine\n{broken")


def test_a_rows_own_answer_is_what_is_expected():
    turns = (Message("system", "s"), Message("user", "q"), Message("assistant", "a"))
    assert case_from_row(Row(1, turns, None)) == PromptCase("q", "a")
    assert case_from_row(Row(1, (), "text")) == PromptCase("text")
    story = case_from_row(Row(1, (), "Once upon a time " * 40))
    assert story == PromptCase(("Once upon a time " * 40)[: len(story.prompt)])
    assert story.prompt.endswith(("Once", "upon", "a", "time"))
    assert 100 < len(story.prompt) <= 200
