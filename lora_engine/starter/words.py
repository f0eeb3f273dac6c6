"""How tables become questions: filling in templates, plurals, bare nouns; and colours and food.

Each function turns one table of `world.py` into facts. Held-out questions are chosen later, in
`facts.py`; nothing here knows about training.
"""

from collections.abc import Iterator

from lora_engine.starter import world
from lora_engine.starter.facts import Fact, sentence, with_article


def fill(templates: str, **values: str) -> tuple[str, ...]:
    """One question a line; `{name}` is replaced by its value."""
    lines = (line.strip() for line in templates.splitlines())
    return tuple(sentence(line.format(**values)) for line in lines if line)


def bare(thing: str) -> str:
    """The thing without its article: "the sky" is "sky"."""
    return thing.removeprefix("the ").removeprefix("an ").removeprefix("a ")


def plural(noun: str) -> str:
    irregular = {
        "mouse": "mice",
        "wolf": "wolves",
        "fly": "flies",
        "sheep": "sheep",
        "deer": "deer",
    }
    if noun in irregular:
        return irregular[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("x", "s", "ch", "sh")) or noun == "potato" else "s")


def colours() -> Iterator[Fact]:
    coloured = dict(world.COLOUR_OF)
    coloured |= {with_article(food.name): food.colour for food in world.FOODS}
    for thing, colour in coloured.items():
        answer = f"{sentence(thing)} is {colour}."
        yield Fact(
            "colour",
            bare(thing),
            colour,
            answer,
            fill(
                """what colour is {x}?
                what color is {x}?
                what is the colour of {x}?
                what is the color of {x}?
                which colour is {x}?
                which color does {x} have?
                what colour does {x} have?
                tell me the colour of {x}.
                tell me what color {x} is.
                tell me what colour {x} is.
                do you know the colour of {x}?
                do you know what color {x} is?
                name the colour of {x}.
                {x} is what colour?
                {x} has which color?
                what's the colour of {x}?
                what's the color of {x}?
                say what colour {x} is.
                the colour of {x}?""",
                x=thing,
            ),
        )
        for guess in world.COLOURS:
            yes = guess == colour
            yield Fact(
                "colour check",
                bare(thing),
                colour,
                f"Yes, {thing} is {colour}." if yes else f"No, {thing} is {colour}.",
                fill(
                    """is {x} {c}?
                    is the colour of {x} {c}?
                    is it true that {x} is {c}?
                    {x} is {c}, right?
                    would you say {x} is {c}?""",
                    x=thing,
                    c=guess,
                ),
            )


def foods() -> Iterator[Fact]:
    for food in world.FOODS:
        values = {"x": with_article(food.name), "p": plural(food.name)}
        subject = sentence(values["x"])
        yield Fact(
            "food kind",
            food.name,
            food.kind,
            f"{subject} is {with_article(food.kind)}.",
            fill(
                """what is {x}?
                what kind of food is {x}?
                what sort of food is {x}?
                what are {p}?
                tell me what {x} is.
                which kind of food is {x}?
                what type of food is {x}?
                do you know what {x} is?
                what's {x}?
                explain what {x} is.
                {x} is what kind of food?""",
                **values,
            ),
        )
        yield Fact(
            "food taste",
            food.name,
            food.taste,
            f"{subject} tastes {food.taste}.",
            fill(
                """how does {x} taste?
                what does {x} taste like?
                what is the taste of {x}?
                how do {p} taste?
                what do {p} taste like?
                tell me how {x} tastes.
                which taste does {x} have?
                what taste does {x} have?
                do you know how {x} tastes?
                {x} tastes how?
                say how {x} tastes.""",
                **values,
            ),
        )
