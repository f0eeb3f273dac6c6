"""What two updates do to each other where both are added to one weight, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lora_engine.language import tr, translatable
from lora_engine.spectrum import Verdict

TOGETHER_THEY: Mapping[Verdict, str] = {
    "apart": translatable("keep apart"),
    "reinforce": translatable("pull the same way"),
    "oppose": translatable("pull against each other"),
    "mixed": translatable("share directions, each for its own"),
}


def collisions_in_words(verdicts: Counter[Verdict], what: str) -> str:
    """How often they do what, and what to expect of their sum.

    what: that which is counted, as in `Of 28 modules`.
    """
    parts = [
        tr("in {count} they {do}", count=f"{count:,}", do=tr(TOGETHER_THEY[verdict]))
        for verdict, count in verdicts.most_common()
    ]
    clash = verdicts["oppose"] + verdicts["mixed"]
    advice = (
        tr("Added, each would keep what it does.")
        if not clash and not verdicts["reinforce"]
        else tr("Added, they would disturb each other there: compare the result with each alone.")
        if clash
        else tr("Added, they would overshoot there: weights below 1 each.")
    )
    listed = tr("; ").join(parts) or tr("all are zero")
    return tr("Of {what}, {listed}. {advice}", what=what, listed=listed, advice=advice)
