"""What the run on the form will take, at the side: rows, steps, time, memory, following the form.

On a phone it is one line above Start. The numbers are the engine's; the cards of the methods are
filled from the same answer. While a server still loads its libraries, rows and steps come first and
the rest is asked for by an event of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from uuid import uuid4

import gradio as gr
from gradio.components import Component

from lora_engine.advisor import FirstFigures, RunForecast
from lora_engine.engine import Engine
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.language import tr, tr_count
from lora_engine.spec import RunSpec, spec_from
from pages.shared import layout
from pages.shared.forms import Field, SpecForm
from pages.shared.settled_changes import SettledChanges
from pages.shared.spec_fields import title_of
from pages.shared.static_files import call_js
from pages.shared.wiring import Update, problem_box, wire
from pages.train import method_cards, words
from pages.train.method_cards import BASE
from pages.train.place_fields import HERE

NOT_ASKED = ("name", "report.")  # fields that change no figure


@dataclass(frozen=True)
class SummaryParts:
    """figures: the list at the side. line: the same in a line, for a phone. unfinished: hidden; a
    new value asks for what is still to come."""

    figures: gr.HTML
    line: gr.HTML
    unfinished: gr.HTML


def figures() -> gr.HTML:
    return gr.HTML(waiting_html(), js_on_load="", elem_id="run-figures")


def line() -> gr.HTML:
    return gr.HTML(
        f'<p class="rs-run-line">{tr("Counting…")}</p>', js_on_load="", elem_id="run-line"
    )


def unfinished() -> gr.HTML:
    return gr.HTML(
        value="",
        html_template="<div hidden></div>",
        js_on_load=call_js("train/follow.js", "unfinished"),
        elem_classes="rs-range-holder",
        apply_default_css=False,
    )


def connect(
    parts: SummaryParts, cards: gr.HTML, form: SpecForm, changes: SettledChanges, engine: Engine
) -> None:
    """The figures and the cards follow every field that changes one (`asked_of`)."""

    def foresee(values: Mapping[Component, Any]) -> Update:
        try:
            spec = spec_from(form.document(values))
            first = engine.advisor.first_figures(spec)
        except EngineError as error:
            return refused(error, values)
        if first is None:
            return foresee_all(values)
        return {
            parts.figures: first_html(first, spec),
            parts.line: first_line_html(first),
            parts.unfinished: uuid4().hex,
        }

    def foresee_all(values: Mapping[Component, Any]) -> Update:
        try:
            spec = spec_from(form.document(values))
            found = engine.advisor.forecast(spec)
        except EngineError as error:
            return refused(error, values)
        engine.advisor.get_ready()
        return {
            parts.figures: figures_html(found, spec),
            parts.line: line_html(found),
            cards: method_cards.as_json(found, spec.base_model),
        }

    def refused(error: EngineError, values: Mapping[Component, Any]) -> Update:
        base = values[form.component(BASE)] or ""
        return {
            parts.figures: unknown_html(error),
            parts.line: line_html(None),
            cards: method_cards.as_json(None, base),
        }

    shown = [parts.figures, parts.line, cards]
    for triggers, handler, outputs in (
        ([changes.trigger], foresee, [*shown, parts.unfinished]),
        ([parts.unfinished.input], foresee_all, shown),
    ):
        wire(triggers, handler, set(changes.fields), outputs, problem=problem_box(), follows=True)


def asked_of(form: SpecForm) -> list[Field]:
    """The fields that change a figure."""
    return [form.component(path) for path in form.paths if not path.startswith(NOT_ASKED)]


def waiting_html() -> str:
    """The list before the first answer, in its later size."""
    names = (tr("Rows"), tr("Steps"), tr("Time"), tr("Peak memory"))
    return _figures([(name, "…", "") for name in names])


def unknown_html(error: EngineError) -> str:
    """Why nothing can be told while a field says something wrong."""
    if isinstance(error, InvalidInput):
        what = "; ".join(f"{title_of(one.path)}: {one.message}" for one in error.problems[:3])
    else:
        what = error.problem
    return (
        f"{waiting_html()}<p class='rs-run-why'>"
        f"{escape(tr('No figures while this is wrong: {what}', what=what[:300]))}</p>"
    )


def first_html(first: FirstFigures, spec: RunSpec) -> str:
    """What is known at once; the rest is being counted."""
    steps = "…" if first.steps is None else layout.count(first.steps)
    rows = [
        (tr("Rows"), layout.count(first.rows), _evaluated(first.evaluated)),
        (tr("Steps"), steps, _steps_note(spec)),
        (tr("Time"), "…", tr("being counted; the first time takes some seconds")),
        (tr("Peak memory"), "…", ""),
    ]
    return _figures(rows)


def first_line_html(first: FirstFigures) -> str:
    """688 rows · 258 steps · …"""
    parts = [tr_count("{count} row", "{count} rows", first.rows)]
    if first.steps is not None:
        parts.append(tr_count("{count} step", "{count} steps", first.steps))
    return f'<p class="rs-run-line">{escape(" · ".join([*parts, "…"]))}</p>'


def figures_html(found: RunForecast, spec: RunSpec) -> str:
    chosen = found.chosen
    memory_note = chosen.why if chosen.memory_gib is None else _memory_note(found)
    rows = [
        (tr("Rows"), layout.count(found.rows), _evaluated(found.evaluated)),
        (tr("Steps"), layout.count(found.steps), _steps_note(spec)),
        (tr("Time"), words.about(chosen.seconds), _time_note(found)),
        (tr("Peak memory"), words.memory(chosen.memory_gib), memory_note),
    ]
    return f"{_figures(rows)}{_meter(found)}{_over(found)}"


def line_html(found: RunForecast | None) -> str:
    """763 rows · 258 steps · about 25 s · 0.49 GiB of 22"""
    if found is None:
        return f'<p class="rs-run-line">{escape(tr("No figures: a field is wrong."))}</p>'
    gib = found.chosen.memory_gib
    memory = words.memory(gib)
    if gib is not None and found.device_gib is not None:
        used, total = words.gib_number(gib), f"{found.device_gib:,.0f}"
        memory = tr("{used} GiB of {total}", used=used, total=total)
    parts = [
        tr_count("{count} row", "{count} rows", found.rows),
        tr_count("{count} step", "{count} steps", found.steps),
        words.about(found.chosen.seconds),
        memory,
    ]
    over = " rs-over-memory" if found.chosen.fits is False else ""
    return f'<p class="rs-run-line{over}">{escape(" · ".join(parts))}</p>'


def _figures(rows: list[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd>{escape(note)}</dd></div>"
        for name, value, note in rows
    )
    return f'<dl class="rs-run-figures">{cells}</dl>'


def _evaluated(rows: int) -> str:
    if not rows:
        return tr("to train on; none kept apart")
    return tr("to train on; {count} kept apart", count=layout.count(rows))


def _steps_note(spec: RunSpec) -> str:
    optimization = spec.optimization
    rows = optimization.batch_size * optimization.gradient_accumulation
    of_rows = tr_count("of {count} row", "of {count} rows", rows)
    if optimization.max_steps is not None or optimization.max_tokens_per_batch is not None:
        return of_rows
    passes = tr("{epochs} passes", epochs=f"{optimization.epochs:g}")
    return f"{of_rows} · {passes}"


def _memory_note(found: RunForecast) -> str:
    """What the peak is compared with: this machine's memory, or what a cluster's job asks for."""
    is_on_card = found.device == "cuda"
    if found.device_gib is None:
        if is_on_card:
            return tr("on a card of the cluster; how large it is, is not known here")
        return tr("on a node of the cluster; ask for it under Memory (GiB)")
    total = words.gib_number(found.device_gib)
    if found.place != HERE:
        return tr("of {total} GiB that the job asks for", total=total)
    device = tr("the GPU") if is_on_card else tr("this machine")
    return tr("of {total} GiB on {device}", total=total, device=device)


def _time_note(found: RunForecast) -> str:
    if found.place != HERE:
        return _time_note_elsewhere(found)
    if found.chosen.seconds is None:
        return tr("A run on this base will tell.")
    if found.measured_on:
        return tr_count(
            "by {count} earlier run on this base",
            "by {count} earlier runs on this base",
            found.measured_on,
        )
    return tr("rough: from this machine's matrix products alone; loading comes first")


def _time_note_elsewhere(found: RunForecast) -> str:
    if found.chosen.seconds is None:
        return tr("A run on this base there, with as many cores and cards, will tell.")
    return tr_count(
        "by {count} earlier run on this base there; the wait in the queue comes first",
        "by {count} earlier runs on this base there; the wait in the queue comes first",
        found.measured_on,
    )


def _meter(found: RunForecast) -> str:
    """The memory as a part of the device's, where that is known."""
    if found.device_gib is None:
        return ""
    gib = found.chosen.memory_gib
    share = 0.0 if gib is None else min(1.0, gib / found.device_gib)
    over = " rs-over-memory" if found.chosen.fits is False else ""
    return (
        f'<div class="rs-run-meter{over}" aria-hidden="true">'
        f'<div style="width:{100 * share:.1f}%"></div></div>'
    )


def _over(found: RunForecast) -> str:
    """What to change where it does not fit."""
    if found.chosen.fits is not False:
        return ""
    is_here, changes = found.place == HERE, ", ".join(found.changes)
    if is_here and changes:
        text = tr("It does not fit. The least harmful way: {changes}.", changes=changes)
    elif changes:
        text = tr("It does not fit. Ask for more memory there, or: {changes}.", changes=changes)
    else:
        text = (
            tr("It does not fit.") if is_here else tr("It does not fit. Ask for more memory there.")
        )
    return f'<p class="rs-run-why rs-over-memory">{escape(text)}</p>'
