"""What the sections that write have in common: a name, a question before replacing, what came out.

A name that is taken asks: the problem says so, and a button to replace it appears. Knows no
operation.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TypeVar

import gradio as gr

from lora_engine.adapter_operations import LossesBeside, not_measured
from lora_engine.cancellation import Stopped
from lora_engine.compare.scoring import classify_forgetting
from lora_engine.errors import Conflict, EngineError
from lora_engine.language import tr, translatable
from pages import COMPARE, SPECTRUM, Page
from pages.shared import layout
from pages.shared.background_work import ProgressRow, TabTask, Work
from pages.shared.live import Column, live_table, table_value
from pages.shared.wiring import Update

T = TypeVar("T")
LOSS_COLUMNS = (
    Column(translatable("Loss on")),
    Column(translatable("under")),
    Column(translatable("nats a token"), layout.number, numeric=True),
    Column(translatable("base alone"), layout.number, numeric=True),
    Column(translatable("difference"), layout.number, numeric=True),
    Column(translatable("95 % from"), layout.number, numeric=True),
    Column(translatable("95 % to"), layout.number, numeric=True),
    Column(translatable("in a word")),
    Column(translatable("rows"), layout.count, numeric=True),
)


@dataclass(frozen=True)
class OutputFields:
    """The name of what is written, the button that writes, and the one that replaces."""

    name: gr.Textbox
    write: gr.Button
    replace: gr.Button

    def asking(self, updates: Iterator[Update]) -> Iterator[Update]:
        """`updates`; where the name is taken the button that replaces appears."""
        try:
            yield from updates
        except Conflict:
            yield {self.replace: gr.Button(visible=True)}
            raise
        yield {self.replace: gr.Button(visible=False)}


def output_fields(prefix: str, verb: str, what: str) -> OutputFields:
    """prefix: begins the element ids; what: a sentence on what gets the name, and where."""
    name = gr.Textbox(
        "", label=tr("Name"), elem_id=f"{prefix}-name", max_length=80,
        info=what,
    )  # fmt: skip
    with gr.Row(elem_classes="rs-actions"):
        write = gr.Button(verb, variant="primary", elem_id=f"{prefix}-write")
        replace = gr.Button(
            tr("Replace the one of that name"), variant="stop", visible=False,
            elem_id=f"{prefix}-replace",
        )  # fmt: skip
    return OutputFields(name, write, replace)


def doing_html(sentence: str) -> str:
    """What a tab does, over its fields; escaped here."""
    return f'<p class="rs-doing">{escape(sentence)}</p>'


def rank_span(low: int, high: int) -> str:
    """One rank, or from which to which."""
    return f"{low:,}" if low == high else tr("{low} to {high}", low=f"{low:,}", high=f"{high:,}")


def modules_table(elem_id: str, file_name: str) -> gr.HTML:
    """An empty table of modules, folded away: there may be hundreds."""
    with gr.Accordion(tr("Module by module"), open=False):
        return live_table(label=tr("Modules"), file_name=file_name, elem_id=elem_id)


def losses_table(elem_id: str) -> gr.HTML:
    """An empty table for `losses_value`."""
    return live_table(label=tr("Losses beside each other"), file_name="losses.csv", elem_id=elem_id)


def losses_value(found: LossesBeside, called: Mapping[str, str]) -> str:
    """Every measured loss as a row. called: what the page calls each adapter."""
    rows = [
        (
            tr("{name}'s held-out rows", name=called.get(one.rows_of, one.rows_of))
            if one.rows_of is not None
            else tr("general questions"),
            called.get(pair.column, pair.column),
            pair.loss,
            pair.base_loss,
            pair.difference,
            pair.low,
            pair.high,
            tr(pair.verdict if one.rows_of is not None else classify_forgetting(pair).value),
            pair.rows,
        )
        for one in found.measured
        for pair in one.pairs
    ]
    return table_value(LOSS_COLUMNS, rows, empty=tr("Nothing could be measured.")) if rows else ""


def losses_or_why(
    row: ProgressRow, task: TabTask, work: Work[T]
) -> Generator[Update, None, T | None]:
    """The measured losses; None where they cannot be measured, and the row says why.

    What was written stands all the same, and so does what the page says of it. Raises Stopped.
    """
    try:
        return (yield from row.watch(task, work))
    except Stopped:
        raise
    except EngineError as error:
        yield row.idle(layout.notes_html([not_measured(error)]))
        return None


def next_steps_html(steps: list[tuple[Page, str, Mapping[str, str]]]) -> str:
    """Buttons to other pages: each a page, its words and its state; escaped here."""
    links = [
        f'<a class="rs-button" href="{escape(layout.link(page, **state))}">{escape(words)}</a>'
        for page, words, state in steps
    ]
    return f'<p class="rs-next">{" ".join(links)}</p>'


def compare_steps_html(adapters: list[str], words: str) -> str:
    """To Compare with these adapters as columns, and to the last one's spectrum."""
    return next_steps_html(
        [
            (COMPARE, words, {"adapter": ",".join(adapters)}),
            (SPECTRUM, tr("See its spectrum"), {"adapter": adapters[-1]}),
        ]
    )
