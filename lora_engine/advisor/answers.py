"""A check on answers: the share of greedy answers that equal the reference, beside each rank.

Asked are the runs that represent a rank, where at least half of the held-out rows have a short
answer: a long one is hardly ever repeated word for word. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lora_engine.advisor.children import Child
from lora_engine.advisor.judgement_report import Judgement, RankJudgement
from lora_engine.advisor.loss_tables import (
    COLUMNS_AT_ONCE,
    HeldOutRows,
    LoadColumns,
    held_out_rows,
    spread,
)
from lora_engine.compare.generate import AnswerRequest, ComparisonModel, Sampling
from lora_engine.compare.scoring import passes
from lora_engine.data import Row, tokenize_rows
from lora_engine.data.tokenization import IGNORED
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import WorkMonitor

MOST_ANSWERED = 50
SHORT = 32  # tokens, the end token too
BATCH_ANSWERS = 16


def with_answers(
    judgement: Judgement,
    children: Sequence[Child],
    load: LoadColumns,
    settings: Settings,
    monitor: WorkMonitor,
    most_rows: int,
) -> Judgement:
    """`judgement` with `answers_equal` at its ranks, where the rows have short answers.

    most_rows: of the held-out rows that were judged. Raises Stopped.
    """
    held_out = held_out_rows(children, settings)
    shown = [seed.run for rank in judgement.ranks for seed in rank.seeds]
    adapters = {one.id: one.adapter for one in children if one.id in shown}
    model = load(dict(list(adapters.items())[:1]))
    length = children[0].spec.optimization.max_length
    rows = short_rows(spread(held_out.rows, most_rows), model, length)
    if not rows:
        monitor.step(1.0, tr("no short answers to check"))
        return judgement
    try:
        model.tokens_of([row.messages[:-1] for row in rows])
    except EngineError as error:
        note = tr("Answers are not checked. {problem}", problem=error.problem)
        return replace(judgement, notes=(*judgement.notes, note))
    equal: dict[str, dict[int, bool]] = {}
    for start in range(0, len(shown), COLUMNS_AT_ONCE):
        together = shown[start : start + COLUMNS_AT_ONCE]
        model = load({name: adapters[name] for name in together})
        for place, name in enumerate(together, start):
            part = monitor.part(place / len(shown), (place + 1) / len(shown))
            asked = _unseen(rows, held_out, name, children)
            equal[name] = dict(_equal_answers(model, name, asked, part))
    note = tr(
        "Equal answers: the share of greedy answers that equal the reference, on up to {rows} "
        "held-out rows with an answer of at most {tokens} tokens.",
        rows=len(rows),
        tokens=SHORT,
    )
    return replace(
        judgement,
        ranks=tuple(replace(one, answers_equal=_share(one, equal)) for one in judgement.ranks),
        notes=(*judgement.notes, note),
    )


def short_rows(rows: Sequence[Row], model: ComparisonModel, max_length: int) -> tuple[Row, ...]:
    """At most `MOST_ANSWERED` rows with one short answer in plain text; none where fewer than half
    of `rows` are such."""
    plain = [row for row in rows if _asks_for_text(row)]
    tokenized = tokenize_rows(plain, model.tokenizer, max_length) if plain else []
    short = {
        row.number
        for row in tokenized
        if not row.truncated and sum(label != IGNORED for label in row.labels) <= SHORT
    }
    found = [row for row in plain if row.number in short]
    return tuple(spread(found, MOST_ANSWERED)) if 2 * len(found) >= len(rows) else ()


def _asks_for_text(row: Row) -> bool:
    """Whether the row is a question with one answer at its end, and nothing but text in both."""
    roles = [turn.role for turn in row.messages]
    bare = not any(turn.reasoning or turn.tool_calls or turn.extra for turn in row.messages)
    ends_in_its_answer = roles[-1:] == ["assistant"] and roles.count("assistant") == 1
    return bare and not row.tools and "user" in roles and ends_in_its_answer


def _unseen(
    rows: Sequence[Row], held_out: HeldOutRows, name: str, children: Sequence[Child]
) -> list[Row]:
    seed = next(one.spec.seed for one in children if one.id == name)
    return [row for row in rows if row.number in held_out.unseen[seed]]


def _equal_answers(
    model: ComparisonModel, column: str, rows: Sequence[Row], monitor: WorkMonitor
) -> Iterator[tuple[int, bool]]:
    """Each row's number, and whether the column's greedy answer is the reference but for space."""
    sampling = Sampling(max_new_tokens=SHORT)
    for start in range(0, len(rows), BATCH_ANSWERS):
        monitor.step(start / len(rows), tr("answers of {column}", column=column))
        batch = rows[start : start + BATCH_ANSWERS]
        requests = [AnswerRequest(str(row.number), column, row.messages[:-1]) for row in batch]
        *_, last = model.answer_all(requests, sampling, monitor.stop)
        done = (start + len(batch)) / len(rows)
        monitor.step(done, tr("answers of {column}", column=column))
        for row in batch:
            answer = last.columns[str(row.number)].text
            yield row.number, passes("exact", [answer], row.messages[-1].content)[0]


def _share(rank: RankJudgement, equal: Mapping[str, Mapping[int, bool]]) -> float | None:
    """The mean over the rank's seeds that were asked anything."""
    shares = [np.mean(list(equal[seed.run].values())) for seed in rank.seeds if equal[seed.run]]
    return float(np.mean(shares)) if shares else None
