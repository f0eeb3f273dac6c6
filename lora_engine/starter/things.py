"""Questions and answers about jobs, tools, materials, the body and shapes."""

from collections.abc import Iterator

from lora_engine.starter import world
from lora_engine.starter.facts import Fact, sentence, with_article
from lora_engine.starter.words import bare, fill, plural


def jobs() -> Iterator[Fact]:
    for job, (work, keyword) in world.JOBS.items():
        yield Fact(
            "job",
            job,
            keyword,
            f"{sentence(with_article(job))} {work}.",
            fill(
                """what does {x} do?
                what do {p} do?
                what is the job of {x}?
                what is the work of {x}?
                tell me what {x} does.
                what does {x} do all day?
                do you know what {x} does?
                what work does {x} do?
                explain what {x} does.
                say what {x} does.
                who is {x}?
                what is {x}?""",
                x=with_article(job),
                p=plural(job) if not job.endswith("man") else job[:-3] + "men",
            ),
        )
        yield Fact(
            "who does",
            work,
            job,
            f"{sentence(with_article(job))} {work}.",
            fill(
                """who {w}?
                tell me who {w}.
                which person {w}?
                what do you call someone who {w}?
                do you know who {w}?
                who is it that {w}?
                name a person who {w}.
                whose job is it: who {w}?""",
                w=work,
            ),
        )


def uses() -> Iterator[Fact]:
    for tool, use in world.USES.items():
        yield Fact(
            "use",
            tool,
            use,
            f"You use {with_article(tool)} to {use}."
            if tool != "soap"
            else f"You use soap to {use}.",
            fill(
                """what is {x} for?
                what is {x} used for?
                what do you do with {x}?
                what can I do with {x}?
                what do people use {x} for?
                why do I need {x}?
                tell me what {x} is for.
                how do you use {x}?
                what do I use {x} for?
                what's {x} for?
                do you know what {x} is for?
                explain what {x} is for.
                what is {x}?""",
                x=with_article(tool) if tool != "soap" else tool,
            ),
        )


def materials() -> Iterator[Fact]:
    for thing, material in world.MADE_OF.items():
        yield Fact(
            "made of",
            bare(thing),
            material,
            f"{sentence(thing)} is made from {material}.",
            fill(
                """what is {x} made of?
                what is {x} made from?
                tell me what {x} is made of.
                what do you make {x} from?
                what do I need to make {x}?
                do you know what {x} is made of?
                from what is {x} made?
                {x} is made of what?
                what's {x} made of?
                how is {x} made?""",
                x=thing,
            ),
        )


def body() -> Iterator[Fact]:
    for action, part in world.BODY.items():
        yield Fact(
            "body",
            action,
            part,
            f"You {action} with your {part}.",
            fill(
                """what do you {x} with?
                what do I {x} with?
                how do I {x}?
                how do you {x}?
                what do we use to {x}?
                which part of the body do you use to {x}?
                which part of my body do I {x} with?
                tell me what I {x} with.
                with what do you {x}?
                what do people {x} with?""",
                x=action,
            ),
        )


def shapes() -> Iterator[Fact]:
    for shape, sides in world.SIDES.items():
        yield Fact(
            "sides",
            shape,
            str(sides),
            f"{sentence(with_article(shape))} has {sides} sides.",
            fill(
                """how many sides does {x} have?
                how many sides has {x}?
                how many corners does {x} have?
                tell me how many sides {x} has.
                what is the number of sides of {x}?
                how many sides are there in {x}?
                {x} has how many sides?
                what is {x}?""",
                x=with_article(shape),
            ),
        )


ALL = (jobs, uses, materials, body, shapes)
