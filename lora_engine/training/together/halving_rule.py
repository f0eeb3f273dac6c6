"""The rule by which a run of a sweep is clearly worse: its numbers, and how it is said.

Loads no torch, so that a page can say it; `halving.py` applies it.
"""

from __future__ import annotations

from lora_engine.language import tr

RUNGS = (0.25, 0.5)
LEVEL, MARGIN = 0.05, 0.02
LEAST_ROWS = 10


def rule_in_words() -> str:
    """When a run stops, with the test and its bounds."""
    first, second = (f"{100 * rung:g} %" for rung in RUNGS)
    return tr(
        "At {first} and {second} of its steps a run stops where its held-out loss is more than "
        "{margin} above the best run's, with p at most {level} / runs compared in a one-sided "
        "paired sign-flip test over at least {rows} rows; at most half of the runs stop at a time.",
        first=first,
        second=second,
        margin=f"{100 * MARGIN:g} %",
        level=f"{LEVEL:g}",
        rows=LEAST_ROWS,
    )
