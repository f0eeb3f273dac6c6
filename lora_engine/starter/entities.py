"""The dataset of entities: sentences whose persons, places, animals and jobs are tagged (BIO).

A name may be of several words, and some words are of several kinds: a fox, Anna Fox, Jordan Baker,
a baker from Jordan. So it takes the sentence, and not a list of words, to tell them apart. Of every
kind a quarter of the names is never in the training rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle

from lora_engine.starter import world
from lora_engine.starter.facts import listed, stable_hash

TRAINING_ROWS, HELD_OUT_ROWS = 600, 150
SEED = 7
UNSEEN_SHARE = 0.5  # of the names in held-out rows: as many are unseen

FIRST_NAMES = listed(
    "Anna Tom Maria Peter Clara Felix Nina Oscar Ruth Simon Vera Hugo Ida Karl Lena Max Nora Otto "
    "Paula Ralf Sara Theo Emma Leo Jordan Georgia Sydney Florence Victoria Rose"
)
SURNAMES = listed(
    "Fox Wolf Baker Cook Driver Miner Taylor Crow Swan Hill Stone Meyer Brown Green Lopez Novak "
    "Jensen Rossi Silva Kim Weber Moreau Haas Lund"
)
PLACES = tuple(dict.fromkeys(
    [place for one in world.COUNTRIES for place in (one.name, one.capital)]
    + ["New Zealand", "South Africa", "Buenos Aires", "Cape Town", "Los Angeles", "Hong Kong",
       "Costa Rica", "Rio de Janeiro", "San Marino", "Saint Lucia", "Jordan", "Georgia", "Sydney",
       "Florence", "Victoria", "Baker Street"]
))  # fmt: skip
ANIMALS = tuple(
    [one.name for one in world.ANIMALS]
    + ["polar bear", "grizzly bear", "sea lion", "guinea pig", "killer whale", "barn owl",
       "sea turtle", "mountain goat", "fruit bat", "honey bee", "arctic fox", "snow leopard"]
)  # fmt: skip
JOBS = tuple(
    [*world.JOBS]
    + ["bus driver", "school teacher", "police officer", "opera singer", "pastry cook",
       "taxi driver", "animal doctor", "train driver", "ship builder", "news writer"]
)  # fmt: skip

TEMPLATES = tuple(
    line.strip()
    for line in """
    PERSON works as a JOB in PLACE .
    PERSON is a JOB .
    PERSON comes from PLACE .
    PERSON and PERSON saw a ANIMAL near PLACE .
    the ANIMAL ran away from PERSON .
    the JOB fed the ANIMAL .
    a JOB from PLACE met PERSON .
    in PLACE , PERSON bought a ANIMAL .
    PERSON lives in PLACE with a ANIMAL .
    PERSON , a JOB from PLACE , likes the ANIMAL .
    the ANIMAL sleeps while the JOB works .
    yesterday PERSON flew from PLACE to PLACE .
    the JOB told PERSON about PLACE .
    there is a ANIMAL behind PERSON !
    who is PERSON ?
    is there a ANIMAL in PLACE ?
    PERSON asked the JOB for a ANIMAL .
    every ANIMAL in PLACE knows PERSON .
    PERSON wants to be a JOB .
    the old JOB lost his ANIMAL in PLACE .
    we went to PLACE by train .
    it rained in PLACE on Monday .
    my sister PERSON became a JOB .
    no ANIMAL likes the rain .
    PERSON wrote a letter to PERSON .
    the road from PLACE to PLACE is long .
    a young ANIMAL followed the JOB to PLACE .
    the JOB and the JOB work in PLACE .
    does PERSON know a JOB ?
    PERSON drew a ANIMAL and a ANIMAL .
    near PLACE a ANIMAL crossed the river .
    the new JOB is called PERSON .
    PERSON was born in PLACE in spring .
    the letter for PERSON came from PLACE .
    a JOB must wake up early .
    the ANIMAL of PERSON is small and brown .
    PERSON paid the JOB in PLACE .
    they say that PERSON left PLACE .
    do you sell a ANIMAL to a JOB ?
    the train to PLACE is late again .
    the sky over PLACE was red .
    PERSON can sing , and so can PERSON .
    when the ANIMAL came , PERSON ran to PLACE .
    nobody in PLACE has seen the ANIMAL .
    the sun is warm today .
    it was a quiet evening .
    what is the best way to learn ?
    please close the door .
    """.strip().splitlines()
)
UNSEEN_TEMPLATES = 6  # the last of these with names are in held-out rows alone

Row = dict[str, list[str]]


def entities() -> tuple[list[Row], list[Row]]:
    """Rows to train on, and held-out rows, half of whose names no training row has."""
    source = random.Random(SEED)
    named = [line for line in TEMPLATES if _has_names(line)]
    known = [line for line in TEMPLATES if line not in named[-UNSEEN_TEMPLATES:]]
    held_out = _distinct(source, TEMPLATES, UNSEEN_SHARE, HELD_OUT_ROWS, set())
    apart = {_text(row) for row in held_out}
    return _distinct(source, known, 0.0, TRAINING_ROWS, apart), held_out


def sentences(seed: int) -> Iterator[str]:
    """Endless untagged sentences with all the names, none of the held-out ones among them."""
    source = random.Random(seed)
    apart = {_text(row) for row in entities()[1]}
    while True:
        text = _text(_row(source, source.choice(TEMPLATES), None))
        if text not in apart:
            yield text


def unseen(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that no training row has: every fourth, in an order of no meaning."""
    return tuple(sorted(names, key=stable_hash)[::4])


def _distinct(
    source: random.Random,
    templates: Sequence[str],
    unseen_share: float,
    number: int,
    apart: set[str],
) -> list[Row]:
    """So many different sentences from the templates in turn, none of `apart`, shuffled."""
    rows: dict[str, Row] = {}
    for template in cycle(templates):
        row = _row(source, template, unseen_share)
        if _text(row) not in apart:
            rows[_text(row)] = row
        if len(rows) == number:
            break
    found = list(rows.values())
    source.shuffle(found)
    return found


def _row(source: random.Random, template: str, unseen_share: float | None) -> Row:
    """One sentence. unseen_share: of the names that are unseen ones; None draws from all alike."""
    tokens: list[str] = []
    tags: list[str] = []
    for word in template.split():
        name = _name(source, word, unseen_share)
        if not name:
            tokens.append(word)
            tags.append("O")
            continue
        if tokens and tokens[-1] == "a" and name[0][0] in "aeiou":
            tokens[-1] = "an"
        tokens += name
        tags += [f"B-{word}", *[f"I-{word}"] * (len(name) - 1)]
    tokens[0] = tokens[0][0].upper() + tokens[0][1:]
    return {"tokens": tokens, "tags": tags}


def _name(source: random.Random, kind: str, unseen_share: float | None) -> list[str]:
    """The words of a name of the kind; empty for a plain word."""
    if kind == "PERSON":
        first = _drawn(source, FIRST_NAMES, unseen_share)
        return [first, _drawn(source, SURNAMES, unseen_share)] if source.random() < 0.6 else [first]
    pools = {"PLACE": PLACES, "ANIMAL": ANIMALS, "JOB": JOBS}
    return _drawn(source, pools[kind], unseen_share).split() if kind in pools else []


def _drawn(source: random.Random, names: tuple[str, ...], unseen_share: float | None) -> str:
    if unseen_share is None:
        return source.choice(names)
    apart = unseen(names)
    if source.random() < unseen_share:
        return source.choice(apart)
    return source.choice([name for name in names if name not in apart])


def _has_names(template: str) -> bool:
    return any(kind in template.split() for kind in ("PERSON", "PLACE", "ANIMAL", "JOB"))


def _text(row: Row) -> str:
    return " ".join(row["tokens"])
