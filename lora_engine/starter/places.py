"""Questions and answers about countries, cities, days and months."""

from collections.abc import Iterator

from lora_engine.starter import world
from lora_engine.starter.facts import Fact
from lora_engine.starter.words import fill


def places() -> Iterator[Fact]:
    for country in world.COUNTRIES:
        name, capital = country.name, country.capital
        yield Fact(
            "capital",
            name,
            capital,
            f"The capital of {name} is {capital}.",
            fill(
                """what is the capital of {x}?
                which city is the capital of {x}?
                tell me the capital of {x}.
                what's the capital of {x}?
                name the capital of {x}.
                do you know the capital of {x}?
                what is the capital city of {x}?
                which is the capital of {x}?
                what city is the capital of {x}?
                say the capital of {x}.
                {x} has which capital?
                what is the main city of {x}?
                tell me what the capital of {x} is.
                the capital of {x}?
                give me the capital of {x}.""",
                x=name,
            ),
        )
        yield Fact(
            "country of city",
            capital,
            name,
            f"{capital} is in {name}.",
            fill(
                """where is {x}?
                in which country is {x}?
                which country is {x} in?
                what country is {x} in?
                tell me where {x} is.
                {x} is in which country?
                do you know where {x} is?
                where can I find {x}?
                where is the city of {x}?
                {x} is the capital of which country?""",
                x=capital,
            ),
        )
        yield Fact(
            "continent",
            name,
            country.continent,
            f"{name} is in {country.continent}.",
            fill(
                """where is {x}?
                which continent is {x} in?
                on which continent is {x}?
                what continent is {x} in?
                in which part of the world is {x}?
                tell me where {x} is.
                {x} is on which continent?
                do you know where {x} is?
                tell me the continent of {x}.
                where can I find {x}?
                what is the continent of {x}?""",
                x=name,
            ),
        )
        yield Fact(
            "language",
            name,
            country.language,
            f"People in {name} speak {country.language}.",
            fill(
                """what language do people speak in {x}?
                which language do people speak in {x}?
                what do they speak in {x}?
                what is the language of {x}?
                which language is spoken in {x}?
                what language is spoken in {x}?
                tell me the language of {x}.
                how do people talk in {x}?
                do you know what people speak in {x}?
                what language do they speak in {x}?
                name the language of {x}.""",
                x=name,
            ),
        )


def neighbours(intent: str, name: str, before: str, after: str, kind: str) -> Iterator[Fact]:
    """The day or month before and after."""
    yield Fact(
        f"{intent} after",
        name,
        after,
        f"{after} comes after {name}.",
        fill(
            """what {k} comes after {x}?
            which {k} comes after {x}?
            what comes after {x}?
            which {k} follows {x}?
            what is the {k} after {x}?
            tell me the {k} after {x}.
            what {k} is after {x}?
            name the {k} after {x}.
            which {k} is next after {x}?
            do you know which {k} comes after {x}?""",
            x=name,
            k=kind,
        ),
    )
    yield Fact(
        f"{intent} before",
        name,
        before,
        f"{before} comes before {name}.",
        fill(
            """what {k} comes before {x}?
            which {k} comes before {x}?
            what comes before {x}?
            what is the {k} before {x}?
            tell me the {k} before {x}.
            what {k} is before {x}?
            name the {k} before {x}.
            do you know which {k} comes before {x}?""",
            x=name,
            k=kind,
        ),
    )


def days() -> Iterator[Fact]:
    days = world.DAYS
    for i, day in enumerate(days):
        yield from neighbours("day", day, days[i - 1], days[(i + 1) % 7], "day")
        weekend = day in ("Saturday", "Sunday")
        yield Fact(
            "weekend",
            day,
            day,
            f"Yes, {day} is on the weekend." if weekend else f"No, {day} is a weekday.",
            fill(
                """is {x} on the weekend?
                is {x} a weekend day?
                is {x} part of the weekend?
                does {x} belong to the weekend?
                {x} is on the weekend, right?""",
                x=day,
            ),
        )


def months() -> Iterator[Fact]:
    names = [month for month, _, _ in world.MONTHS]
    for i, (month, length, season) in enumerate(world.MONTHS):
        yield from neighbours("month", month, names[i - 1], names[(i + 1) % 12], "month")
        yield Fact(
            "month length",
            month,
            str(length),
            f"{month} has {length} days.",
            fill(
                """how many days does {x} have?
                how many days are in {x}?
                how many days are there in {x}?
                how long is {x}?
                tell me how many days {x} has.
                how many days has {x}?
                what is the number of days in {x}?
                {x} has how many days?
                do you know how many days {x} has?""",
                x=month,
            ),
        )
        yield Fact(
            "month season",
            month,
            season,
            f"{month} is in {season}.",
            fill(
                """in which season is {x}?
                which season is {x} in?
                what season is {x} in?
                what season is it in {x}?
                tell me the season of {x}.
                {x} is in which season?
                {x} belongs to which season?
                what is the season in {x}?""",
                x=month,
            ),
        )
        ordinal = world.ORDINALS[i]
        yield Fact(
            "month number",
            ordinal,
            month,
            f"{month} is the {ordinal} month.",
            fill(
                """which month is the {x} month?
                what is the {x} month of the year?
                what is the {x} month?
                name the {x} month of the year.
                tell me the {x} month.
                which is the {x} month of the year?
                what's the {x} month?""",
                x=ordinal,
            ),
        )
