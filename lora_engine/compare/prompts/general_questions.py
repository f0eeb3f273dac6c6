"""General questions that no adapter was trained for, made by the starter's own generator.

They are questions on the starter's world whose phrasing (or, for sums, whose whole fact) stands
in no training row of the starter or of the bundled datasets, each with the starter's own answer.
"""

from __future__ import annotations

from functools import cache

from lora_engine.data import Message, Row

GENERAL_ROWS = 120


@cache
def general_rows() -> tuple[Row, ...]:
    """120 questions with answers, spread over everything the starter knows, always the same."""
    from lora_engine.starter.corpus import held_out

    return tuple(
        Row(number, (Message("user", question), Message("assistant", fact.answer)), None)
        for number, (question, fact) in enumerate(held_out(GENERAL_ROWS), 1)
    )
