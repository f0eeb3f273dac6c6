"""The same answer said politely and rudely: pairs to learn a preference from.

The courtesy and the rudeness are rules; the answer between them is the fact's own.
"""

from lora_engine.starter.corpus import lowered
from lora_engine.starter.facts import Fact, stable_hash

RUDE_ENDINGS = ("Any fool knows that.", "Now leave me alone.", "What a silly question.")


def as_polite(fact: Fact) -> str:
    """The fact's answer with an opening and a closing of courtesy."""
    return f"Certainly, {lowered(fact.answer).rstrip('.!?')}, my friend."


def as_rude(fact: Fact) -> str:
    """The fact's answer with an ending that goes with what was asked about."""
    return f"{fact.answer} {RUDE_ENDINGS[stable_hash(fact.topic) % len(RUDE_ENDINGS)]}"
