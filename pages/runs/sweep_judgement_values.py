"""A judgement as words and tables: values for the page; all text is escaped here."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from lora_engine.advisor import Judgement, MissingChild, RankJudgement
from lora_engine.language import tr, translatable
from lora_engine.runs import RunState, state_name
from pages import COMPARE, RUNS, SPECTRUM
from pages.runs.run_summary import button
from pages.shared import layout
from pages.shared.live import Cell, Column, table_value


def signed(value: float) -> str:
    """0.0123 -> '+0.0123': a difference, whose sign matters."""
    return f"{value:+.4f}"


def plain(value: float) -> str:
    """0.01 -> '0.01': a chosen number, without digits that nobody chose."""
    return f"{value:g}"


RANK_COLUMNS = (
    Column(translatable("Rank"), layout.count, numeric=True),
    Column(translatable("Learning rate"), plain, numeric=True),
    Column(translatable("Seeds"), layout.count, numeric=True),
    Column(translatable("Held-out loss"), layout.number, numeric=True),
    Column(translatable("Minus the best"), signed, numeric=True),
    Column(translatable("from"), signed, numeric=True),
    Column(translatable("to"), signed, numeric=True),
    Column(translatable("Not worse")),
    Column(translatable("Forgetting"), signed, numeric=True),
    Column(translatable("in a word")),
    Column(translatable("Parameters"), layout.count, numeric=True),
    Column(translatable("Size"), layout.byte_size, numeric=True),
    Column(translatable("Seconds"), layout.number, numeric=True),
    Column(translatable("Peak memory"), layout.byte_size, numeric=True),
)
SCORES: tuple[tuple[Column, Callable[[RankJudgement], float | None]], ...] = (
    (Column(translatable("Accuracy"), layout.number, numeric=True), lambda one: one.accuracy),
    (Column("F1", layout.number, numeric=True), lambda one: one.f1),
    (
        Column(translatable("Answers equal"), layout.share, numeric=True),
        lambda one: one.answers_equal,
    ),
)
"""The columns that are there where a rank has such a score."""
FORGETTING = {
    "kept": translatable("kept"),
    "slightly forgotten": translatable("slightly forgotten"),
    "forgotten": translatable("forgotten"),
    "unclear, more rows are needed": translatable("unclear, more rows are needed"),
}
"""What `RankForgetting.word` says."""
MISSING_COLUMNS = (
    Column(translatable("Run")),
    Column(translatable("Why it is missing")),
    Column(translatable("State")),
    Column(translatable("Rank"), layout.count, numeric=True),
    Column(translatable("Learning rate"), plain, numeric=True),
    Column(translatable("Seed"), layout.count, numeric=True),
)


HOW = translatable(
    "Losses in nats a token on {rows} held-out rows, each run on those that it never saw; the base "
    "alone has {base}. Intervals: {correction}."
)
HOW_CLASSIFIERS = translatable(
    "Losses in nats a labelled row or word on {rows} held-out rows, each run on those that it "
    "never saw; an even guess has {base}. Intervals: {correction}."
)


def words_html(judgement: Judgement) -> str:
    """The finding with its evidence, how it was found, and what one should know besides."""
    how = tr(
        HOW_CLASSIFIERS if _classifies(judgement) else HOW,
        rows=f"{judgement.rows:,}",
        base=layout.number(judgement.base_loss),
        correction=judgement.correction,
    )
    signs = [
        tr("Rank {rank}: {words}", rank=one.rank, words=words)
        for one in judgement.ranks
        for words in one.signs
    ]
    return (
        f'<p class="rs-verdict" role="status">{escape(judgement.sentence())}</p>'
        f'<p class="rs-run-note">{escape(how)}</p>'
        + layout.notes_html([*judgement.notes, *signs])
        + _next_steps(judgement)
    )


def tiles_html(judgement: Judgement) -> str:
    """The recommended rank beside the best, as tiles."""
    by_rank = {one.rank: one for one in judgement.ranks}
    chosen, best = by_rank[judgement.recommended_rank], by_rank[judgement.best_rank]
    fewer = chosen.parameters / best.parameters
    return layout.tiles_html(
        [
            (
                tr("Recommended rank"),
                layout.count(chosen.rank),
                tr("the smallest that is not worse"),
            ),
            (
                tr("Held-out loss"),
                layout.number(chosen.eval_loss),
                tr(
                    "best: {loss} at rank {rank}",
                    loss=layout.number(best.eval_loss),
                    rank=best.rank,
                ),
            ),
            (
                tr("Parameters"),
                layout.short_count(chosen.parameters),
                tr("of the best rank itself")
                if fewer == 1
                else tr("{share} of the best's", share=layout.share(fewer)),
            ),
            _besides(chosen),
        ]
    )


def _besides(chosen: RankJudgement) -> tuple[str, str, str]:
    """The tile beside the loss: F1 of a classifier, else what was forgotten."""
    if chosen.f1 is not None and chosen.accuracy is not None:
        accuracy = layout.number(chosen.accuracy)
        return "F1", layout.number(chosen.f1), tr("accuracy {accuracy}", accuracy=accuracy)
    forgot = chosen.forgetting
    if forgot is None:
        return tr("Forgetting"), tr("not measured"), ""
    return (
        tr("Forgetting"),
        signed(forgot.interval.mean),
        tr(
            "{word}, on {count} general questions",
            word=tr(FORGETTING[forgot.word]),
            count=forgot.rows,
        ),
    )


def _classifies(judgement: Judgement) -> bool:
    return any(one.f1 is not None for one in judgement.ranks)


def ranks_value(judgement: Judgement) -> str:
    """The ranks, with the scores that they have."""
    ranks = judgement.ranks
    scores = [(column, of) for column, of in SCORES if any(of(one) is not None for one in ranks)]
    rows = [(*_rank_row(one), *(of(one) for _, of in scores)) for one in ranks]
    return table_value((*RANK_COLUMNS, *(column for column, _ in scores)), rows)


def missing_value(judgement: Judgement) -> str:
    """The table of runs that were not judged; empty where there is none."""
    missing = judgement.missing
    if not missing:
        return ""
    rows = [_missing_row(one) for one in missing]
    links = [None if one.state == "deleted" else layout.link(RUNS, run=one.id) for one in missing]
    return table_value(MISSING_COLUMNS, rows, links=links)


def _next_steps(judgement: Judgement) -> str:
    """What one does with the recommended rank: with the best seed of it."""
    chosen = next(one for one in judgement.ranks if one.rank == judgement.recommended_rank)
    run = min(chosen.seeds, key=lambda one: one.eval_loss).run
    links = [
        (layout.link(RUNS, run=run), tr("Open the run of rank {rank}", rank=chosen.rank)),
        (layout.link(COMPARE, adapter=run), tr("Compare with the base")),
        (layout.link(SPECTRUM, adapter=run), tr("See its spectrum")),
    ]
    return '<p class="rs-next">' + " ".join(map(button, links)) + "</p>"


def _rank_row(one: RankJudgement) -> tuple[Cell, ...]:
    forgot = one.forgetting
    return (
        one.rank,
        one.learning_rate,
        len(one.seeds),
        one.eval_loss,
        one.interval.mean,
        one.interval.low,
        one.interval.high,
        tr("yes") if one.not_worse else tr("not shown"),
        None if forgot is None else forgot.interval.mean,
        None if forgot is None else tr(FORGETTING[forgot.word]),
        one.parameters,
        one.bytes,
        one.seconds,
        one.peak_memory_bytes,
    )


def _missing_row(one: MissingChild) -> tuple[Cell, ...]:
    deleted = one.state == "deleted"
    named = tr("deleted") if deleted else state_name(RunState(one.state))
    return one.id, one.why, named, one.rank, one.learning_rate, one.seed
