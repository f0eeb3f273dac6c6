"""The checks on answers, with patterns that would hang."""

import time

import pytest

from lora_engine.compare.scoring.answer_checks import passes
from lora_engine.errors import EngineError


def test_each_check():
    assert passes("exact", ["a  b ", "a b c"], " a b") == [True, False]
    assert passes("contains", ["Ahoy there", "hello"], "AHOY") == [True, False]
    assert passes("json", ['{"a": 1}', "{a}", "[" * 10_000], "") == [True, False, False]
    assert passes("regex", ["x1", "x"], r"\d$") == [True, False]
    assert passes("regex", [], "x") == []


@pytest.mark.parametrize(
    ("pattern", "found"), [("(", "no regular expression"), ("x" * 1001, "1,001 characters")]
)
def test_a_wrong_pattern_is_named(pattern, found):
    with pytest.raises(EngineError, match=found):
        passes("regex", ["x"], pattern)


def test_a_pattern_that_would_hang_is_ended():
    started = time.monotonic()
    with pytest.raises(EngineError, match="takes more than"):
        passes("regex", ["a" * 60 + "!"], "(a+)+$")
    assert time.monotonic() - started < 60
