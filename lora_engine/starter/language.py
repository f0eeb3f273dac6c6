"""Questions and answers about words as words: opposites, plurals, tenses, spelling."""

from collections.abc import Iterator

from lora_engine.starter import world
from lora_engine.starter.facts import Fact
from lora_engine.starter.words import fill


def opposites() -> Iterator[Fact]:
    for pair in world.OPPOSITES:
        for word, other in (pair, pair[::-1]):
            yield Fact(
                "opposite",
                word,
                other,
                f"The opposite of {word} is {other}.",
                fill(
                    """what is the opposite of {x}?
                    what's the opposite of {x}?
                    tell me the opposite of {x}.
                    name the opposite of {x}.
                    which word is the opposite of {x}?
                    do you know the opposite of {x}?
                    give me the opposite of {x}.
                    say the opposite of {x}.
                    what word means the opposite of {x}?
                    the opposite of {x}?
                    {x} has which opposite?
                    what is not {x}?""",
                    x=word,
                ),
            )


def forms() -> Iterator[Fact]:
    for one, many in world.PLURALS.items():
        yield Fact(
            "plural",
            one,
            many,
            f"The plural of {one} is {many}.",
            fill(
                """what is the plural of {x}?
                what's the plural of {x}?
                tell me the plural of {x}.
                give me the plural of {x}.
                one {x}, two what?
                do you know the plural of {x}?
                name the plural of {x}.
                how do you write more than one {x}?
                what do you call more than one {x}?
                make {x} plural.
                the plural of {x}?""",
                x=one,
            ),
        )
    for now, past in world.PAST_TENSES.items():
        yield Fact(
            "past tense",
            now,
            past,
            f"The past tense of {now} is {past}.",
            fill(
                """what is the past tense of {x}?
                what's the past tense of {x}?
                tell me the past tense of {x}.
                give me the past tense of {x}.
                what is the past of {x}?
                put {x} in the past tense.
                do you know the past tense of {x}?
                name the past tense of {x}.
                the past tense of {x}?
                today I {x}, yesterday I what?""",
                x=now,
            ),
        )


def spelling() -> Iterator[Fact]:
    for word in world.SPELLING_WORDS:
        letters = "-".join(word.upper())
        yield Fact(
            "spelling",
            word,
            letters,
            f"The word {word} is spelled {letters}.",
            fill(
                """how do you spell {x}?
                spell {x}.
                spell the word {x}.
                can you spell {x}?
                how is {x} spelled?
                how do I spell {x}?
                how is the word {x} spelled?
                how do you write {x}?
                tell me how to spell {x}.""",
                x=word,
            ),
        )
        yield Fact(
            "letters",
            word,
            str(len(word)),
            f"The word {word} has {len(word)} letters.",
            fill(
                """how many letters are in {x}?
                how many letters does {x} have?
                how many letters are there in the word {x}?
                count the letters in {x}.
                how long is the word {x}?""",
                x=word,
            ),
        )
        for which, letter in (("first", word[0].upper()), ("last", word[-1].upper())):
            yield Fact(
                f"{which} letter",
                word,
                letter,
                f"The {which} letter of {word} is {letter}.",
                fill(
                    """what is the {w} letter of {x}?
                    which letter is the {w} letter of {x}?
                    tell me the {w} letter of {x}.
                    what's the {w} letter in {x}?
                    what is the {w} letter in the word {x}?
                    {x} has which {w} letter?""",
                    x=word,
                    w=which,
                ),
            )
