"""The same task by every method: one click starts a run for each, and its table fills up.

The group that is shown stands in the address (`/?methods=…`). Knows fields and events; what is
counted and measured is the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr
from gradio.blocks import Block

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.measured_methods import MeasuredMethod, MethodsReport, task_spec
from pages import COMPARE, RUNS
from pages.shared import layout, live
from pages.shared.address_fields import AddressFields
from pages.shared.base_choices import list_bases_at_opening
from pages.shared.wiring import Update, problem_box, wire

REFRESH_S = 3.0  # a redraw costs the training
STARTER, DATA, STEPS = "starter", "starter:pirate", 60
NO_GROUP = (translatable("none"), "")
MIB = 2**20
NOTHING = translatable("No method was trained yet: choose data and steps above, and start.")


@dataclass(frozen=True)
class MeasuredParts:
    """The section. due, hidden, is the group whose answers are to be timed."""

    base: gr.Dropdown
    data: gr.Dropdown
    steps: gr.Number
    start: gr.Button
    group: gr.Dropdown
    problem: gr.HTML
    heading: gr.HTML
    table: gr.HTML
    due: gr.Textbox
    timer: gr.Timer

    @property
    def shown(self) -> list[Block]:
        return [self.heading, self.table, self.due, self.timer]

    def showing(self, report: MethodsReport) -> Update:
        untimed = report.is_over and not report.has_latencies
        return {
            self.heading: heading_html(report),
            self.table: table_value(report),
            self.due: report.id if untimed else "",
            self.timer: gr.Timer(active=not report.is_over),
        }

    def without_group(self) -> Update:
        return {
            self.heading: "",
            self.table: empty_table(),
            self.due: "",
            self.timer: gr.Timer(active=False),
        }


def section(engine: Engine, blocks: gr.Blocks) -> None:
    parts = _lay_out()
    list_bases_at_opening(engine, blocks, [parts.base], problem_box())
    _wire(engine, parts, blocks)


def _lay_out() -> MeasuredParts:
    layout.section(
        tr("The same task by every method"),
        tr(
            "One run each on the same rows, with the learning rate that suits the method. When "
            "all have ended, their answers are timed beside the base's."
        ),
    )
    with gr.Row(elem_classes="rs-fields"):
        base = _choice([STARTER], tr("Base model"), "field-methods-base")
        data = _choice([DATA], tr("Data"), "field-methods-data")
        steps = gr.Number(
            STEPS, label=tr("Steps"), precision=0, minimum=1, elem_id="field-methods-steps",
            min_width=120,
        )  # fmt: skip
        group = _choice([_no_group()], tr("Measured so far"), "field-methods-group", 220)
    with gr.Row(elem_classes="rs-actions"):
        start = gr.Button(tr("Train every method"), elem_id="start-methods", min_width=260, scale=0)
    problem = problem_box()
    heading = gr.HTML(js_on_load="", elem_id="methods-heading")
    table = live.live_table(
        empty_table(),
        label=tr("Methods, counted and measured"),
        file_name="measured-methods.csv",
        elem_id="measured-methods",
    )
    due = gr.Textbox(visible=False)
    timer = gr.Timer(REFRESH_S, active=False)
    return MeasuredParts(base, data, steps, start, group, problem, heading, table, due, timer)


def _choice(
    choices: Sequence[str | tuple[str, str]], label: str, elem_id: str, min_width: int = 160
) -> gr.Dropdown:
    """A field of which the first choice is chosen, and in which another can be typed."""
    first = choices[0]
    return gr.Dropdown(
        list(choices),
        value=first if isinstance(first, str) else first[1],
        label=label,
        allow_custom_value=True,
        elem_id=elem_id,
        min_width=min_width,
    )


def _wire(engine: Engine, parts: MeasuredParts, blocks: gr.Blocks) -> None:
    def start_methods(base: str, data: str, steps: float) -> Update:
        report = engine.methods.submit(task_spec(base or "", data or "", layout.whole(steps)))
        chosen = gr.Dropdown(choices=_group_choices(engine), value=report.id)
        return {parts.group: chosen, **parts.showing(report)}

    def list_choices() -> Update:
        names = [one.name for one in engine.datasets.list()]
        return {
            parts.data: gr.Dropdown(choices=names),
            parts.group: gr.Dropdown(choices=_group_choices(engine)),
        }

    def show_methods(group: str) -> Update:
        return parts.showing(engine.methods.report(group)) if group else parts.without_group()

    def time_answers(due: str) -> None:
        if due:
            engine.methods.answers_once(due)

    def show_timed(due: str, group: str) -> Update:
        """Timing takes a while: the group that is shown now may be another."""
        return show_methods(group) if due else {}

    address, box = AddressFields({"methods": parts.group}), parts.problem
    asked = [parts.base, parts.data, parts.steps]
    started = wire(
        [parts.start.click], start_methods, asked, [parts.group, *parts.shown], problem=box
    )
    address.remember(started.then, "page_remember_started_methods")
    address.remember([parts.group.input], "page_remember_methods")
    recalled = address.recall(blocks, box, "page_recall_methods")
    shown = [
        wire(triggers, show_methods, [parts.group], parts.shown, problem=box)
        for triggers in (recalled.then, [parts.group.input])
    ]
    ticked = wire([parts.timer.tick], show_methods, [parts.group], parts.shown,
                  problem=problem_box(), queue=False)  # fmt: skip
    timing = problem_box()
    for event in (*shown, ticked):
        timed = wire(event.then, time_answers, [parts.due], problem=timing)
        wire(timed.then, show_timed, [parts.due, parts.group], parts.shown, problem=timing,
             keeps_problem=True)  # fmt: skip
    wire([blocks.load], list_choices, [], [parts.data, parts.group], problem=problem_box())


def heading_html(report: MethodsReport) -> str:
    """What was tried on what, how far it is, and where the answers can be compared."""
    finished = [row for row in report.rows if row.state == "finished"]
    told = [
        tr(
            "{data} on {model}: {done} of {all} done.",
            data=report.dataset,
            model=report.base_model,
            done=len(finished),
            all=len(report.rows),
        )
    ]
    if report.base_ms_per_token is not None:
        time = layout.number(report.base_ms_per_token)
        told.append(tr("The base answers in {time} ms a token.", time=time))
    elif report.is_over and finished:
        told.append(tr("The answers are being timed; Compare and other answers wait meanwhile."))
    links = [_link(layout.link(RUNS, tab="sweeps", sweep=report.id), tr("The runs’ curves"))]
    adapters = [row.run for row in finished if row.way not in ("full", "freeze") and row.run][:3]
    if adapters:
        asked = layout.link(COMPARE, adapter=",".join(adapters))
        links.append(_link(asked, tr("Ask the first of them")))
    notes = layout.notes_html(report.notes)
    return f'<p class="rs-run-note">{escape(" ".join(told))} {" · ".join(links)}</p>{notes}'


def _link(address: str, words: str) -> str:
    return f'<a href="{escape(address, quote=True)}">{escape(words)}</a>'


def table_value(report: MethodsReport) -> str:
    links = [None if row.run is None else layout.link(RUNS, run=row.run) for row in report.rows]
    return live.table_value(_columns(), [_cells(row) for row in report.rows], links=links)


def empty_table() -> str:
    return live.table_value(_columns(), [], empty=tr(NOTHING))


def _columns() -> tuple[live.Column, ...]:
    return (
        live.Column(tr("method")),
        live.Column(tr("trained (counted)"), layout.count, numeric=True),
        live.Column(tr("trained"), layout.count, numeric=True),
        live.Column(tr("MiB (expected)"), layout.number, numeric=True),
        live.Column("MiB", layout.number, numeric=True),
        live.Column(tr("seconds"), layout.number, numeric=True),
        live.Column(tr("tokens/s"), layout.count, numeric=True),
        live.Column(tr("held-out loss"), layout.number, numeric=True),
        live.Column(tr("ms a token"), layout.number, numeric=True),
        live.Column(tr("× base"), layout.number, numeric=True),
        live.Column(tr("learning rate"), layout.number, numeric=True),
        live.Column(tr("state")),
        live.Column(tr("what went wrong")),
    )


def _cells(row: MeasuredMethod) -> tuple[live.Cell, ...]:
    counted, measured = row.counted, row.measured
    trained, peak = None, None
    after: tuple[live.Cell, ...] = (None,) * 7
    if counted is not None:
        trained, peak = counted.trained_parameters, _mib(counted.peak_memory_bytes)
    if measured is not None:
        answers = measured.answers
        after = (
            measured.trained_parameters,
            _mib(measured.peak_memory_bytes),
            measured.elapsed_s,
            round(measured.tokens_per_s),
            measured.eval_loss,
            None if answers is None else answers.ms_per_token,
            None if answers is None else answers.times_base,
        )
    what = row.learning_rate, tr(row.state), row.why
    return tr(row.name), trained, after[0], peak, *after[1:], *what


def _mib(size: int | None) -> float | None:
    return None if size is None else size / MIB


def _group_choices(engine: Engine) -> Sequence[tuple[str, str]]:
    groups = [(f"{view.name} ({view.id})", view.id) for view in engine.methods.list()]
    return [_no_group(), *groups]


def _no_group() -> tuple[str, str]:
    label, value = NO_GROUP
    return tr(label), value
