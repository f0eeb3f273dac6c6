"""A judgement as words and tables: values for the page; all text is escaped here."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from lora_engine.advisor import Judgement, MissingChild, RankJudgement
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
    Column("Rank", layout.count, numeric=True),
    Column("Learning rate", plain, numeric=True),
    Column("Seeds", layout.count, numeric=True),
    Column("Held-out loss", layout.number, numeric=True),
    Column("Minus the best", signed, numeric=True),
    Column("from", signed, numeric=True),
    Column("to", signed, numeric=True),
    Column("Not worse"),
    Column("Forgetting", signed, numeric=True),
    Column("in a word"),
    Column("Parameters", layout.count, numeric=True),
    Column("Size", layout.byte_size, numeric=True),
    Column("Seconds", layout.number, numeric=True),
    Column("Peak memory", layout.byte_size, numeric=True),
)
SCORES: tuple[tuple[Column, Callable[[RankJudgement], float | None]], ...] = (
    (Column("Accuracy", layout.number, numeric=True), lambda one: one.accuracy),
    (Column("F1", layout.number, numeric=True), lambda one: one.f1),
    (Column("Answers equal", layout.share, numeric=True), lambda one: one.answers_equal),
)
"""The columns that are there where a rank has such a score."""
MISSING_COLUMNS = (
    Column("Run"),
    Column("Why it is missing"),
    Column("State"),
    Column("Rank", layout.count, numeric=True),
    Column("Learning rate", plain, numeric=True),
    Column("Seed", layout.count, numeric=True),
)


def words_html(judgement: Judgement) -> str:
    """The finding with its evidence, how it was found, and what one should know besides."""
    how = (
        f"Losses in nats {_unit(judgement)} on {judgement.rows:,} held-out rows, each run on those "
        f"that it never saw; {_base(judgement)} has {layout.number(judgement.base_loss)}. "
        f"Intervals: {judgement.correction}."
    )
    signs = [f"Rank {one.rank}: {words}" for one in judgement.ranks for words in one.signs]
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
            ("Recommended rank", layout.count(chosen.rank), "the smallest that is not worse"),
            (
                "Held-out loss",
                layout.number(chosen.eval_loss),
                f"best: {layout.number(best.eval_loss)} at rank {best.rank}",
            ),
            (
                "Parameters",
                layout.short_count(chosen.parameters),
                "of the best rank itself" if fewer == 1 else f"{layout.share(fewer)} of the best's",
            ),
            _besides(chosen),
        ]
    )


def _besides(chosen: RankJudgement) -> tuple[str, str, str]:
    """The tile beside the loss: F1 of a classifier, else what was forgotten."""
    if chosen.f1 is not None and chosen.accuracy is not None:
        return "F1", layout.number(chosen.f1), f"accuracy {layout.number(chosen.accuracy)}"
    forgot = chosen.forgetting
    if forgot is None:
        return "Forgetting", "not measured", ""
    return (
        "Forgetting",
        signed(forgot.interval.mean),
        f"{forgot.word}, on {forgot.rows} general questions",
    )


def _classifies(judgement: Judgement) -> bool:
    return any(one.f1 is not None for one in judgement.ranks)


def _unit(judgement: Judgement) -> str:
    return "a labelled row or word" if _classifies(judgement) else "a token"


def _base(judgement: Judgement) -> str:
    return "an even guess" if _classifies(judgement) else "the base alone"


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
        (layout.link(RUNS, run=run), f"Open the run of rank {chosen.rank}"),
        (layout.link(COMPARE, adapter=run), "Compare with the base"),
        (layout.link(SPECTRUM, adapter=run), "See its spectrum"),
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
        "yes" if one.not_worse else "not shown",
        None if forgot is None else forgot.interval.mean,
        None if forgot is None else str(forgot.word),
        one.parameters,
        one.bytes,
        one.seconds,
        one.peak_memory_bytes,
    )


def _missing_row(one: MissingChild) -> tuple[Cell, ...]:
    return one.id, one.why, one.state, one.rank, one.learning_rate, one.seed
