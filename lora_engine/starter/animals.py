"""Questions and answers about animals: sound, home, baby, body, food, size."""

from collections.abc import Iterator

from lora_engine.starter import world
from lora_engine.starter.facts import Fact, sentence, with_article
from lora_engine.starter.words import fill, plural


def animal_sounds() -> Iterator[Fact]:
    for animal in world.ANIMALS:
        yield Fact(
            "animal sound",
            animal.name,
            animal.sound,
            f"{sentence(with_article(animal.name))} says {animal.sound}.",
            fill(
                """what does {x} say?
                what sound does {x} make?
                which sound does {x} make?
                what noise does {x} make?
                what is the sound of {x}?
                tell me what {x} says.
                tell me the sound of {x}.
                how does {x} sound?
                do you know what sound {x} makes?
                what does {x} sound like?
                name the sound {x} makes.
                say what {x} says.
                {x} makes which sound?
                what do {p} say?
                what sound do {p} make?
                which noise do {p} make?
                what's the sound of {x}?""",
                x=with_article(animal.name),
                p=plural(animal.name),
            ),
        )


def animal_homes() -> Iterator[Fact]:
    for animal in world.ANIMALS:
        yield Fact(
            "animal home",
            animal.name,
            animal.home.split()[-1],
            f"{sentence(with_article(animal.name))} lives {animal.home}.",
            fill(
                """where does {x} live?
                where is the home of {x}?
                where do {p} live?
                tell me where {x} lives.
                tell me where {p} live.
                do you know where {x} lives?
                where can I find {x}?
                where could I find {x}?
                where do I find {p}?
                what is the home of {x}?
                where does {x} have its home?
                in which place does {x} live?
                say where {x} lives.
                {x} lives where?
                where would {x} live?""",
                x=with_article(animal.name),
                p=plural(animal.name),
            ),
        )


def animal_babies() -> Iterator[Fact]:
    for animal in world.ANIMALS:
        yield Fact(
            "animal baby",
            animal.name,
            animal.baby,
            f"A baby {animal.name} is called {with_article(animal.baby)}.",
            fill(
                """what is a baby {x} called?
                what do you call a baby {x}?
                what is the name of a baby {x}?
                what is the young of {ax} called?
                tell me what a baby {x} is called.
                tell me the name of a baby {x}.
                how do you call a baby {x}?
                do you know what a baby {x} is called?
                what's a baby {x} called?
                name the baby of {ax}.
                a baby {x} is called what?
                what is a young {x} called?
                what do people call a baby {x}?
                what is the baby of {ax}?""",
                x=animal.name,
                ax=with_article(animal.name),
            ),
        )


def animal_bodies() -> Iterator[Fact]:
    for animal in world.ANIMALS:
        legs = "no legs" if animal.legs == 0 else f"{animal.legs} legs"
        yield Fact(
            "animal legs",
            animal.name,
            "no legs" if animal.legs == 0 else str(animal.legs),
            f"{sentence(with_article(animal.name))} has {legs}.",
            fill(
                """how many legs does {x} have?
                how many legs do {p} have?
                how many legs has {x}?
                tell me how many legs {x} has.
                what is the number of legs of {x}?
                do you know how many legs {x} has?
                count the legs of {x}.
                {x} has how many legs?
                say how many legs {x} has.
                how many legs are there on {x}?""",
                x=with_article(animal.name),
                p=plural(animal.name),
            ),
        )
        yield Fact(
            "animal kind",
            animal.name,
            animal.kind,
            f"{sentence(with_article(animal.name))} is {with_article(animal.kind)}.",
            fill(
                """what is {x}?
                what kind of animal is {x}?
                which kind of animal is {x}?
                what sort of animal is {x}?
                what are {p}?
                tell me what {x} is.
                what type of animal is {x}?
                do you know what {x} is?
                {x} is what kind of animal?
                what's {x}?
                explain what {x} is.
                is {x} a mammal or a bird or something else?""",
                x=with_article(animal.name),
                p=plural(animal.name),
            ),
        )


def animal_food() -> Iterator[Fact]:
    for animal in world.ANIMALS:
        yield Fact(
            "animal food",
            animal.name,
            animal.food,
            f"{sentence(with_article(animal.name))} eats {animal.food}.",
            fill(
                """what does {x} eat?
                what do {p} eat?
                what food does {x} eat?
                what is the food of {x}?
                tell me what {x} eats.
                tell me what {p} eat.
                what does {x} like to eat?
                what do {p} like to eat?
                do you know what {x} eats?
                what can I feed {x}?
                what should I feed {x}?
                {x} eats what?
                say what {x} eats.
                what would {x} eat?
                which food does {x} like?""",
                x=with_article(animal.name),
                p=plural(animal.name),
            ),
        )


def animal_sizes() -> Iterator[Fact]:
    """Which of two is bigger: the pair is held out, in both orders and both directions."""
    for one in world.ANIMALS:
        for other in world.ANIMALS:
            if abs(one.size - other.size) < 2:
                continue
            big, small = (one, other) if one.size > other.size else (other, one)
            pair = {"a": with_article(one.name), "b": with_article(other.name)}
            group = f"size {min(one.name, other.name)} {max(one.name, other.name)}"
            a_big, a_small = with_article(big.name), with_article(small.name)
            yield Fact(
                "animal size",
                big.name,
                big.name,
                f"{sentence(a_big)} is bigger than {a_small}.",
                fill(
                    """which is bigger, {a} or {b}?
                    what is bigger, {a} or {b}?
                    is {a} or {b} bigger?
                    which animal is larger, {a} or {b}?""",
                    **pair,
                ),
                group,
            )
            yield Fact(
                "animal size",
                small.name,
                small.name,
                f"{sentence(a_small)} is smaller than {a_big}.",
                fill(
                    """which is smaller, {a} or {b}?
                    what is smaller, {a} or {b}?
                    is {a} or {b} smaller?""",
                    **pair,
                ),
                group,
            )


ALL = (
    animal_sounds,
    animal_homes,
    animal_babies,
    animal_bodies,
    animal_food,
    animal_sizes,
)
