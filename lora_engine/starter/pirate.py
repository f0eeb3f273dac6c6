"""An ordinary answer said by a pirate: the same key words in other clothes.

The style is a rule, so a small model can learn it: opening and closing go with what kind of thing
was asked, "is" and "are" become "be", "you" becomes "ye".
"""

import re

from lora_engine.starter.corpus import lowered
from lora_engine.starter.facts import Fact

# whole words of an answer -> what a pirate says
WORDS = {
    "is": "be",
    "are": "be",
    "am": "be",
    "you": "ye",
    "your": "yer",
    "my": "me",
    "hello": "ahoy",
    "friend": "matey",
    "friends": "mateys",
    "yes": "aye",
    "no,": "nay,",
    "of": "o'",
    "and": "an'",
    "do not": "don't",
}

# what kind of thing was asked -> how a pirate begins and ends
MANNERS = {
    "animal": ("Arr, ", ", matey!"),
    "food": ("Yo ho, ", ", me hearty!"),
    "place": ("Avast, ", ", by the seven seas!"),
    "word": ("Aye, ", ", me hearty!"),
    "number": ("Arr, ", ", ye landlubber!"),
    "colour": ("Aye, ", ", matey!"),
    "time": ("Avast, ", ", ye landlubber!"),
    "thing": ("Arr, ", ", me hearty!"),
    "chat": ("Ahoy, ", ", matey!"),
}
KIND_OF_INTENT = {
    "capital": "place",
    "country of city": "place",
    "continent": "place",
    "language": "place",
    "opposite": "word",
    "plural": "word",
    "past tense": "word",
    "spelling": "word",
    "letters": "word",
    "first letter": "word",
    "last letter": "word",
    "adding": "number",
    "taking away": "number",
    "bigger number": "number",
    "smaller number": "number",
    "number after": "number",
    "number before": "number",
    "even or odd": "number",
    "double": "number",
    "colour": "colour",
    "colour check": "colour",
    "use": "thing",
    "made of": "thing",
    "body": "thing",
    "sides": "thing",
    "job": "thing",
    "who does": "thing",
    "chat": "chat",
    "unknown": "chat",
}


def kind_of(intent: str) -> str:
    if intent in KIND_OF_INTENT:
        return KIND_OF_INTENT[intent]
    return next((k for k in ("animal", "food") if intent.startswith(k)), "time")


def in_pirate_words(answer: str) -> str:
    """The answer's small words exchanged; its nouns, colours and numbers stay."""
    for plain, pirate in WORDS.items():
        pattern = rf"(?<![\w'-]){re.escape(plain)}(?![\w'-])"
        answer = re.sub(pattern, pirate, answer)
    return answer


def as_pirate(fact: Fact) -> str:
    """The fact's answer in pirate speech, always the same for the same answer."""
    opening, closing = MANNERS[kind_of(fact.intent)]
    return f"{opening}{in_pirate_words(lowered(fact.answer).rstrip('.!?'))}{closing}"
