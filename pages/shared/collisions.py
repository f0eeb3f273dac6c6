"""What two updates do to each other where both are added to one weight, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lora_engine.spectrum import Verdict

TOGETHER_THEY: Mapping[Verdict, str] = {
    "apart": "keep apart",
    "reinforce": "pull the same way",
    "oppose": "pull against each other",
    "mixed": "share directions, each for its own",
}


def collisions_in_words(verdicts: Counter[Verdict], what: str) -> str:
    """How often they do what, and what to expect of their sum.

    what: that which is counted, as in `Of 28 modules`.
    """
    parts = [
        f"in {count:,} they {TOGETHER_THEY[verdict]}" for verdict, count in verdicts.most_common()
    ]
    clash = verdicts["oppose"] + verdicts["mixed"]
    advice = (
        "Added, each would keep what it does."
        if not clash and not verdicts["reinforce"]
        else "Added, they would disturb each other there: compare the result with each alone."
        if clash
        else "Added, they would overshoot there: weights below 1 each."
    )
    return f"Of {what}, {'; '.join(parts) or 'all are zero'}. {advice}"
