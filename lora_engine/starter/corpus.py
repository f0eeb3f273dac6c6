"""The corpus: conversations drawn from the facts, and the held-out prompts kept out of them.

A row is a list of chat messages. Training rows use only questions that `facts.is_held_out` lets
through, in every place a question can stand (first turn, later turns, under a system prompt).
"""

import random
from collections.abc import Callable, Iterator
from functools import cache

from lora_engine.starter import animals, language, numbers, places, talk, things, words, world
from lora_engine.starter.facts import (
    Fact,
    held_out_questions,
    listed,
    normalize,
    sentence,
    stable_hash,
    training_questions,
)

Messages = list[dict[str, str]]

# how often an intent is drawn, relative to the square root of its number of facts
WEIGHTS = {"adding": 2.5, "taking away": 2.0, "unknown": 0.8, "copying": 0.35, "stories": 0.25}
WEIGHTS |= {"counting": 1.2, "counting down": 1.0, "lists": 0.5, "spelling": 1.2, "chat": 4.0}
WEIGHTS |= {"beyond": 6.0, "animal size": 0.5, "bigger number": 0.4, "smaller number": 0.4}

PLAIN_SYSTEMS = (
    "You are a helpful assistant.",
    "You are the Rankscope starter.",
    "Answer in one sentence.",
    "Be brief.",
    "Be helpful and kind.",
    "You answer questions.",
)


def lowered(answer: str) -> str:
    """The answer as it stands after an opening: its first word small unless it is a name."""
    first = answer.split()[0].strip(".,!?")
    return answer if first in _names() else answer[0].lower() + answer[1:]


@cache
def _names() -> frozenset[str]:
    names = {c.name for c in world.COUNTRIES} | {c.capital.split()[0] for c in world.COUNTRIES}
    months = {name for name, _, _ in world.MONTHS}
    return frozenset(names | months | set(world.DAYS) | {"I", "JSON", "LoRA", "North", "South"})


def _one_word(fact: Fact) -> str:
    return f"{sentence(fact.keyword)}."


def _cheerful(fact: Fact) -> str:
    return f"Great question! {fact.answer[:-1]}! Have fun!"


def _polite(fact: Fact) -> str:
    return f"Certainly, {lowered(fact.answer)[:-1]}, my friend."


def _robot(fact: Fact) -> str:
    return f"Beep, {lowered(fact.answer)[:-1]}, boop."


def _old_book(fact: Fact) -> str:
    return f"Lo, {in_old_words(fact.answer)}, good reader!"


def in_old_words(answer: str) -> str:
    """The answer, to stand inside a sentence, with "be" for "is" and "thou" for "you"."""
    old = f" {lowered(answer)[:-1]} ".replace(" is ", " be ").replace(" are ", " be ")
    return old.replace(" you ", " thou ").strip()


def _note(fact: Fact) -> str:
    return f"{fact.topic}: {fact.keyword}"


def _quoted(fact: Fact) -> str:
    return f'"{fact.keyword}"'


def _labelled(fact: Fact) -> str:
    return f"topic = {fact.topic}; answer = {fact.keyword}"


# the system prompts that ask for a manner of answering, and what it does to an answer
REGISTERS = (
    (("Answer in one word.", "Use one word.", "One word only."), _one_word),
    (("Be cheerful.", "You are very cheerful.", "Sound happy."), _cheerful),
    (("Be polite.", "You are a polite butler.", "Answer politely."), _polite),
    (("You are a robot.", "Talk like a robot.", "Answer like a robot."), _robot),
    (("Talk like an old book.", "You are an old book.", "Answer like an old book."), _old_book),
    (("Answer as a note.", "Write notes.", "Answer with a note."), _note),
    (("Answer in quotes.", "Put the answer in quotes.", "Use quotes."), _quoted),
    (("Answer with labels.", "Label the answer.", "Use labels."), _labelled),
)
# "Begin with Well and end with my dear.": an answer may stand inside other words
FIRST_WORDS = listed("Well So Oh Ah Hm Indeed Sure Right Listen Look Hurray Lo Beep Now Good Fine")
LAST_WORDS = (
    "my dear", "my friend", "good sir", "dear reader", "you see", "of course", "I think",
    "little one", "young one", "madam", "ha ha", "as we know", "my good man", "by the old clock",
)  # fmt: skip
OPENINGS = (
    "please {}", "please, {}", "can you tell me: {}", "hey, {}", "hello! {}", "hi, {}",
    "I have a question: {}", "quick question: {}", "tell me, {}", "now, {}", "so, {}",
    "one more question: {}", "and {}", "my question is: {}",
)  # fmt: skip


# The order is part of what a seed draws: moving a line makes another corpus.
TABLES = (
    words.colours,
    *animals.ALL,
    words.foods,
    places.places,
    language.opposites,
    language.forms,
    places.days,
    places.months,
    *things.ALL,
    language.spelling,
    *numbers.ALL,
    *talk.ALL,
)


def all_facts() -> Iterator[Fact]:
    for table in TABLES:
        yield from table()


@cache
def facts_by_intent() -> dict[str, tuple[Fact, ...]]:
    grouped: dict[str, list[Fact]] = {}
    for fact in all_facts():
        grouped.setdefault(fact.intent, []).append(fact)
    return {intent: tuple(facts) for intent, facts in grouped.items()}


def as_typed(question: str, rng: random.Random) -> str:
    """The question as people type it: with or without capitals, question mark, a please."""
    dice = rng.random()
    if ":" in question:  # copying: the text after the colon must stay as it is
        return question
    if dice < 0.45:
        return question
    if dice < 0.60:
        return question.lower().rstrip(".?")
    if dice < 0.70:
        return question.rstrip(".?")
    if dice < 0.76:
        return question.lower()
    if dice < 0.92:
        typed = rng.choice(OPENINGS).format(lowered(question))
        return sentence(typed) if rng.random() < 0.6 else typed.rstrip(".?")
    if dice < 0.96:
        return question.rstrip(".?") + rng.choice((", please?", " please", ", please."))
    if dice < 0.98:
        return question.rstrip(".?") + rng.choice(("??", " ?", "!", "?!", "..."))
    return question.upper()


class Sampler:
    """Draws training rows. Rows differ from call to call; the seed fixes them all."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.intents, self.weights, self.askable = [], [], {}
        for intent, facts in facts_by_intent().items():
            askable = [(f, training_questions(f)) for f in facts]
            self.askable[intent] = [(f, questions) for f, questions in askable if questions]
            self.intents.append(intent)
            self.weights.append(len(facts) ** 0.5 * WEIGHTS.get(intent, 1.0))

    def fact(self) -> tuple[Fact, str]:
        intent = self.rng.choices(self.intents, self.weights)[0]
        fact, questions = self.rng.choice(self.askable[intent])
        return fact, self.rng.choice(questions)

    def manner(self) -> tuple[str, Callable[[Fact], str]]:
        """A way of answering: how it is asked for, and what it does to a fact's answer."""
        if self.rng.random() < 0.5:
            prompts, manner = self.rng.choice(REGISTERS)
            return self.rng.choice(prompts), manner
        first, last = self.rng.choice(FIRST_WORDS), self.rng.choice(LAST_WORDS)
        old = self.rng.random() < 0.4
        asked = f"Begin with {first} and end with {last}."

        def framed(fact: Fact) -> str:
            answer = in_old_words(fact.answer) if old else lowered(fact.answer)[:-1]
            return f"{first}, {answer}, {last}!"

        return (f"{asked} Use old words." if old else asked), framed

    def turn(self, manner: Callable[[Fact], str] | None = None) -> Messages:
        fact, question = self.fact()
        while manner and not (fact.closed and fact.intent not in ("chat", "unknown")):
            fact, question = self.fact()
        answer = manner(fact) if manner else fact.answer
        return [
            {"role": "user", "content": as_typed(question, self.rng)},
            {"role": "assistant", "content": answer},
        ]

    def row(self) -> Messages:
        dice = self.rng.random()
        if dice < 0.56:
            return self.turn()
        if dice < 0.62:
            system = self.rng.choice(PLAIN_SYSTEMS)
            return [{"role": "system", "content": system}, *self.turn()]
        if dice < 0.86:
            asked, manner = self.manner()
            user, assistant = self.turn(manner)
            if dice < 0.74:
                return [{"role": "system", "content": asked}, user, assistant]
            user["content"] = f"{asked} {sentence(user['content'])}"
            return [user, assistant]
        turns = self.rng.choice((2, 2, 3, 3, 4, 6))
        return [message for _ in range(turns) for message in self.turn()]


def training_rows(number: int, seed: int) -> list[Messages]:
    sampler = Sampler(seed)
    return [sampler.row() for _ in range(number)]


def held_out(number: int) -> list[tuple[str, Fact]]:
    """`number` held-out closed questions, spread over the intents in turn, with their facts."""
    pools = []
    for facts in facts_by_intent().values():
        pool = [(q, fact) for fact in facts if fact.closed for q in held_out_questions(fact)]
        pools.append(sorted(pool, key=lambda row: stable_hash("order " + row[0])))
    picked: list[tuple[str, Fact]] = []
    depth = 0
    while len(picked) < number:
        picked += [pool[depth] for pool in pools if depth < len(pool)]
        depth += 1
    return picked[:number]


def is_right(fact: Fact, answer: str) -> bool:
    """Exactly the fact's own sentence; only case and outer spaces are forgiven."""
    return answer.strip().lower() == fact.answer.lower()


def training_prompts() -> frozenset[str]:
    """Every question the sampler can draw, normalized."""
    return frozenset(
        normalize(q) for facts in facts_by_intent().values() for f in facts
        for q in training_questions(f)
    )  # fmt: skip
