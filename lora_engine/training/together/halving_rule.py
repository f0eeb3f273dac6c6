"""The rule by which a run of a sweep is clearly worse: its numbers, and how it is said.

Loads no torch, so that a page can say it; `halving.py` applies it.
"""

from __future__ import annotations

RUNGS = (0.25, 0.5)
LEVEL, MARGIN = 0.05, 0.02
LEAST_ROWS = 10


def rule_in_words() -> str:
    """When a run stops, with the test and its bounds."""
    rungs = " and ".join(f"{100 * rung:g} %" for rung in RUNGS)
    return (
        f"At {rungs} of its steps a run stops where its held-out loss is more than "
        f"{100 * MARGIN:g} % above the best run's, with p at most {LEVEL:g} / runs compared in a "
        f"one-sided paired sign-flip test over at least {LEAST_ROWS} rows; at most half of the "
        "runs stop at a time."
    )
