"""A set of prompts as it is reported: checks per row, word differences, escaping, JSON Lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.compare.generate.prompt_set import Answer, PromptAnswers
from lora_engine.compare.prompts.prompt_file import PromptCase
from lora_engine.compare.scoring.set_report import as_jsonl, check_answers
from lora_engine.compare.scoring.word_diff import MAX_WORDS, Piece, diff_words
from pages.compare import prompt_set_report

EVIL = "<img src=x onerror=alert(1)>"
CASES = [PromptCase("a", "blue"), PromptCase("b"), PromptCase("c", "red")]
ANSWERED = [
    PromptAnswers("a", (Answer("base", "it is blue", 3), Answer("x", "it be blue", 3))),
    PromptAnswers("b", (Answer("base", EVIL, 1), Answer("x", "fine", 1))),
]


def test_the_pieces_name_what_changed():
    assert diff_words("the sky is blue.", "the sea is blue!") == (
        Piece("same", "the "),
        Piece("gone", "sky"),
        Piece("new", "sea"),
        Piece("same", " is blue"),
        Piece("gone", "."),
        Piece("new", "!"),
    )


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_pieces_join_to_both_texts(before, after):
    pieces = diff_words(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == after


def test_a_very_long_answer_is_not_matched_word_by_word():
    long = "a b " * MAX_WORDS
    assert [piece.kind for piece in diff_words(long, "short")] == ["gone", "new"]


def test_a_row_is_checked_against_its_own_answer_else_the_common_one():
    rows = check_answers(CASES, ANSWERED, "contains", "FINE")
    assert [answer.passes for answer in rows[0].answers] == [True, True]
    assert [answer.passes for answer in rows[1].answers] == [False, True]
    assert [answer.passes for answer in check_answers(CASES, ANSWERED, "exact", "")[1].answers] == [
        None,
        None,
    ]
    assert check_answers(CASES, ANSWERED, None, "x")[0].answers[0].passes is None
    assert check_answers(CASES, [], "json", "") == []
    patterns = check_answers(CASES, ANSWERED, "regex", "^it")
    assert [row.answers[0].passes for row in patterns] == [True, False]


def test_the_file_has_one_object_a_prompt():
    lines = as_jsonl(check_answers(CASES, ANSWERED, "contains", "")).splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 2
    assert first["expected"] == "blue"
    assert first["answers"][1] == {"name": "x", "text": "it be blue", "tokens": 3, "passes": True}


def test_differences_are_marked_and_escaped():
    shown = prompt_set_report.differences_html(
        check_answers(CASES, ANSWERED, None, ""), lambda name: name
    )
    assert "it <del>is</del><ins>be</ins> blue" in shown
    assert "<img" not in shown
    assert "&lt;" in shown


@pytest.mark.parametrize("rows", [[], check_answers(CASES, ANSWERED, "contains", "fine")])
def test_summary_and_table_stand_without_and_with_rows(rows):
    summary = prompt_set_report.summary_html(rows, lambda name: name)
    assert ("1 of 2 pass" in summary) == bool(rows)
    json.loads(prompt_set_report.answers_table(rows, lambda name: name, checks=True))
