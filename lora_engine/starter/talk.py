"""Conversation: greetings, who it is, things it does not know, copying, lists and short stories.

The unknown names are made of syllables. None of them is a name of the `facts` dataset's made-up
land: `datasets.py` keeps those apart, and a test holds it.
"""

import random
from collections.abc import Iterator
from itertools import product

from lora_engine.starter import world
from lora_engine.starter.facts import Fact, listed, sentence, with_article
from lora_engine.starter.phrases import BEYOND, CHAT, SEA_WORDS, SIGNS, UNKNOWN_QUESTIONS
from lora_engine.starter.words import fill, plural

UNKNOWN_ANSWER = "I do not know that yet."


def chat() -> Iterator[Fact]:
    for topic, keyword, answer, questions in CHAT:
        asked = fill(questions.replace("|", "\n"))
        yield Fact("chat", topic, keyword, answer, asked)


def unknown_name(rng: random.Random) -> str:
    """A name that means nothing: "Dorvik", "Plushan"."""
    onset = listed("b br c cr d dr f fl g gl h j k kl l m n p pl qu r s sk st t tr v w z")
    vowel = listed("a e i o u oo ai ee")
    coda = listed("n l r sh k x th m p nd rk ss v b g")
    parts = [
        rng.choice(onset) + rng.choice(vowel) + (rng.choice(coda) if rng.random() < 0.6 else "")
        for _ in range(rng.choice((2, 2, 2, 3)))
    ]
    return "".join(parts).capitalize()


def unknown() -> Iterator[Fact]:
    rng = random.Random(11)
    for template in UNKNOWN_QUESTIONS.strip().splitlines():
        for _ in range(40):
            name, second = unknown_name(rng), unknown_name(rng)
            asked = fill(template, X=name, x=name.lower(), Y=second)
            yield Fact("unknown", name, "not know", UNKNOWN_ANSWER, asked, f"unknown {name}")
    asked = fill(BEYOND.replace("|", "\n"))
    yield Fact("beyond", "that", "not know", UNKNOWN_ANSWER, asked, closed=False)


def copying() -> Iterator[Fact]:
    """Say after me: short runs of known words and, now and then, signs such as braces."""
    rng = random.Random(12)
    words = world.SPELLING_WORDS + SEA_WORDS * 4
    for _ in range(3000):
        picked = [rng.choice(words) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.25:
            picked = [
                f"{sign}{word}" for sign, word in zip(rng.choices(SIGNS, k=9), picked, strict=False)
            ]
        text = " ".join(picked)
        asked = rng.choice(
            ("say: {}", "repeat after me: {}", "repeat: {}", "write: {}", "copy: {}")
        )
        yield Fact("copying", text, text, text, (sentence(asked.format(text)),), closed=False)


LISTED = {
    "animals": [a.name for a in world.ANIMALS],
    "birds": [a.name for a in world.ANIMALS if a.kind == "bird"],
    "farm animals": ["cow", "pig", "sheep", "horse", "hen", "goat", "duck"],
    "fruits": [f.name for f in world.FOODS if f.kind == "fruit"],
    "vegetables": [f.name for f in world.FOODS if f.kind == "vegetable"],
    "colours": list(world.COLOURS),
    "countries": [c.name for c in world.COUNTRIES],
    "capitals": [c.capital for c in world.COUNTRIES],
    "days": list(world.DAYS),
    "months": [name for name, _, _ in world.MONTHS],
    "jobs": list(world.JOBS),
    "shapes": list(world.SIDES),
    "tools": ["hammer", "saw", "knife", "brush", "needle", "ladder", "broom"],
}
COUNT_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


def lists() -> Iterator[Fact]:
    """Several right answers each, so never scored."""
    rng = random.Random(13)
    for (kind, members), number in product(LISTED.items(), COUNT_WORDS):
        for _ in range(3):
            picked = rng.sample(members, number)
            names = ", ".join(picked[:-1]) + (" and " if number > 1 else "") + picked[-1]
            noun = kind if number > 1 else {"countries": "country"}.get(kind, kind[:-1])
            yield Fact(
                "lists",
                noun,
                names,
                f"{sentence(names)}.",
                fill(
                    """name {n} {x}.
                    tell me {n} {x}.
                    list {n} {x}.
                    give me {n} {x}.
                    can you name {n} {x}?
                    I want {n} {x}.""",
                    n=COUNT_WORDS[number],
                    x=noun,
                ),
                closed=False,
            )


def stories() -> Iterator[Fact]:
    """Two animals meet: four short sentences made of what the world says about them."""
    rng = random.Random(14)
    names = listed("Bella Milo Luna Toby Ruby Max Daisy Oscar Lily Sam Rosie Finn")
    for one in world.ANIMALS:
        for _ in range(14):
            other = rng.choice([a for a in world.ANIMALS if a is not one])
            name = rng.choice(names)
            middle = rng.choice(
                (
                    f"They played all day and ate {one.food}.",
                    f"They looked for {one.food} and found some.",
                    f"It was a {rng.choice(('sunny', 'rainy', 'windy', 'cold'))} day.",
                    f"{name} was hungry and wanted {one.food}.",
                )
            )
            end = rng.choice(
                ("They became good friends.", "Then they went home.", "Both were happy.")
            )
            text = (
                f"Once there was {with_article(one.name)} called {name}. {name} lived {one.home}. "
                f"One day {name} met {with_article(other.name)}. {middle} {end}"
            )
            yield Fact(
                "stories",
                one.name,
                one.name,
                text,
                fill(
                    """tell me a story about {x}.
                    write a story about {x}.
                    tell a short story about {x}.
                    can you tell me a story about {x}?
                    I want a story about {p}.
                    tell me a story.
                    a story about {x}, please.""",
                    x=with_article(one.name),
                    p=plural(one.name),
                ),
                closed=False,
            )


ALL = (chat, unknown, copying, lists, stories)
