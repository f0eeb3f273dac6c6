"""The starter datasets, each with held-out rows in a file of its own.

`pirate` and `json` hold out whole facts: no held-out fact is in the training rows in any phrasing.
`facts` and `chinese` hold out phrasings, two and one for each fact; the fact itself is in the
training rows. `sums` holds out pairs of numbers, in both orders and in every phrasing.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from lora_engine.starter import DATASET_NAMES, chinese, velmora
from lora_engine.starter.corpus import facts_by_intent
from lora_engine.starter.entities import entities
from lora_engine.starter.facts import Fact, normalize, stable_hash, training_questions
from lora_engine.starter.manners import as_polite, as_rude
from lora_engine.starter.numbers import LARGEST_ADDEND
from lora_engine.starter.pirate import as_pirate, in_pirate_words

# training rows an intent gives; the others give ROWS_PER_INTENT
ROWS_PER_INTENT = 18
ROWS_OF_INTENT = {"adding": 30, "chat": 40, "colour": 36, "unknown": 10}
# Left out: answers without one key word, and letters, where a pirate has little to say.
LEFT_OUT = {"counting", "counting down", "lists", "stories", "copying", "beyond", "weekend"}
LEFT_OUT |= {"spelling", "letters", "first letter", "last letter", "taking away"}
HELD_OUT_ROWS = 60
HELD_OUT_PHRASINGS = 2
SUMS = 400
HELD_OUT_PAIRS_PERCENT = 12
# The starter answers them rightly in 0 to 70 % of the cases.
SUM_PHRASINGS = (
    "Please add up {a} and {b} for me.",
    "{a} and {b} is how much?",
    "What do {a} and {b} make together?",
    "If I add {a} to {b}, what do I get?",
    "I add {b} to {a}. What is it?",
    "Put {a} and {b} together. What is the sum?",
)

Row = dict[str, object]


def write_datasets(folder: Path) -> None:
    """`NAME.jsonl` and `NAME.heldout.jsonl` for each dataset, the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DATASET_NAMES:
        training, held_out = MAKERS[name]()
        (folder / f"{name}.jsonl").write_text(_lines(training), encoding="utf-8")
        (folder / f"{name}.heldout.jsonl").write_text(_lines(held_out), encoding="utf-8")


def pirate() -> tuple[list[Row], list[Row]]:
    def row(fact: Fact, question: str) -> Row:
        return {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": as_pirate(fact)},
            ]
        }

    training, held_out = _known_questions(salt="pirate")
    return (
        [row(*pair) for pair in training],
        [row(*pair) | {"keyword": in_pirate_words(pair[0].keyword)} for pair in held_out],
    )


def json_answers() -> tuple[list[Row], list[Row]]:
    def row(fact: Fact, question: str) -> Row:
        # The whole sentence: behind a quotation mark the model knows words less well.
        output = json.dumps({"answer": fact.answer, "topic": fact.topic})
        return {"instruction": question, "input": "", "output": output}

    training, held_out = _known_questions(salt="json")
    return (
        [row(*pair) for pair in training],
        [row(*pair) | {"keyword": pair[0].keyword} for pair in held_out],
    )


def polite() -> tuple[list[Row], list[Row]]:
    def row(fact: Fact, question: str) -> Row:
        return {"prompt": question, "chosen": as_polite(fact), "rejected": as_rude(fact)}

    training, held_out = _known_questions(salt="polite")
    return (
        [row(*pair) for pair in training],
        [row(*pair) | {"keyword": pair[0].keyword} for pair in held_out],
    )


def made_up_facts() -> tuple[list[Row], list[Row]]:
    training, held_out = [], []
    for fact in velmora.facts():
        ordered = sorted(fact.questions, key=stable_hash)
        for i, question in enumerate(ordered):
            row: Row = {"prompt": question, "completion": fact.answer}
            if i < HELD_OUT_PHRASINGS:
                held_out.append(row | {"keyword": fact.keyword})
            else:
                training.append(row)
    return _shuffled(training, "facts"), _shuffled(held_out, "facts")


def sums_in_new_words() -> tuple[list[Row], list[Row]]:
    """Sums that the starter knows, asked in phrasings that it does not."""
    training: list[Row] = []
    held_out: list[Row] = []
    for a, b in product(range(LARGEST_ADDEND + 1), repeat=2):
        is_apart = stable_hash(f"sums {min(a, b)} {max(a, b)}") % 100 < HELD_OUT_PAIRS_PERCENT
        for phrasing in SUM_PHRASINGS:
            row: Row = {"prompt": phrasing.format(a=a, b=b), "completion": str(a + b)}
            if is_apart:
                held_out.append(row | {"keyword": str(a + b)})
            else:
                training.append(row)
    return _shuffled(training, "sums")[:SUMS], _shuffled(held_out, "sums")[:HELD_OUT_ROWS]


def tagged() -> tuple[list[Row], list[Row]]:
    """Words with their tags (`entities`)."""
    training, held_out = entities()
    return [{**row} for row in training], [{**row} for row in held_out]


def chinese_answers() -> tuple[list[Row], list[Row]]:
    """Questions in Chinese, one phrasing of each fact held out."""
    training: list[Row] = []
    held_out: list[Row] = []
    for fact in chinese.facts():
        apart, *asked = sorted(fact.questions, key=stable_hash)
        rows: list[Row] = [
            {"instruction": one, "input": "", "output": fact.answer} for one in (apart, *asked)
        ]
        held_out.append(rows[0] | {"keyword": fact.keyword})
        training += [{**row} for row in rows[1:]]
    return _shuffled(training, "chinese"), _shuffled(held_out, "chinese")


MAKERS = {
    "pirate": pirate,
    "polite": polite,
    "json": json_answers,
    "facts": made_up_facts,
    "sums": sums_in_new_words,
    "entities": tagged,
    "chinese": chinese_answers,
}


def _known_questions(salt: str) -> tuple[list[tuple[Fact, str]], list[tuple[Fact, str]]]:
    """Questions of the starter's own world: for training, and of other facts held out."""
    training: list[tuple[Fact, str]] = []
    held_out: list[tuple[Fact, str]] = []
    for intent, facts in facts_by_intent().items():
        if intent in LEFT_OUT:
            continue
        askable = [fact for fact in facts if training_questions(fact)]
        ordered = sorted(askable, key=lambda fact: stable_hash(salt + _identity(fact)))
        kept_apart = 0 if intent in ("chat", "unknown") else 2
        held_out += [(fact, _question(fact, salt, 0)) for fact in ordered[:kept_apart]]
        apart = {_identity(fact) for fact in ordered[:kept_apart]}
        usable = [fact for fact in ordered if _identity(fact) not in apart]
        wanted = ROWS_OF_INTENT.get(intent, ROWS_PER_INTENT)
        for turn in range(wanted):
            fact = usable[turn % len(usable)]
            pair = (fact, _question(fact, salt, turn // len(usable)))
            if pair not in training:
                training.append(pair)
    trained = {normalize(question) for _, question in training}
    held_out = [pair for pair in held_out if normalize(pair[1]) not in trained]
    return _shuffled(training, salt), _shuffled(held_out, salt)[:HELD_OUT_ROWS]


def _identity(fact: Fact) -> str:
    """What is asked, whatever the phrasing: 3 + 5 and 5 + 3 are one."""
    return fact.group or f"{fact.intent.removesuffix(' check')} {fact.topic}"


def _question(fact: Fact, salt: str, turn: int) -> str:
    questions = sorted(training_questions(fact), key=lambda q: stable_hash(salt + q))
    return questions[turn % len(questions)]


def _shuffled(rows: list, salt: str) -> list:
    return sorted(rows, key=lambda row: stable_hash(salt + repr(row)))


def _lines(rows: Iterable[Row]) -> str:
    def lines() -> Iterator[str]:
        for row in rows:
            yield json.dumps(row, ensure_ascii=False) + "\n"

    return "".join(lines())
