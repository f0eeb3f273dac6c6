"""The tab "Sweeps": the runs of one sweep together, and what they say of the rank.

The address says which sweep is open: `/runs?tab=sweeps&sweep=…`; without it, the newest. This
module lays the tab out and follows the runs; the sections beneath have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from lora_engine.engine import Engine
from lora_engine.errors import NotFound
from lora_engine.language import tr, translatable
from lora_engine.runs import SweepView
from pages.runs import controls, sweep_content, sweep_deletion, sweep_judgement
from pages.runs.sweep_content import SweepContent, content_of
from pages.runs.sweep_proposals import ProposalFields, build_proposals
from pages.runs.sweep_used import build_used
from pages.shared import layout
from pages.shared.live import live_plot, live_table
from pages.shared.wiring import Update, problem_box, problem_value, wire

REFRESH_S = 3.0  # a redraw costs the training
ACTIONS = {
    "pause": translatable("Pause all"),
    "resume": translatable("Resume all"),
    "cancel": translatable("Cancel all"),
    "delete": translatable("Delete the sweep…"),
}

HELP = translatable(r"""
A **sweep** trains the same rows with one field or a few set to several values, mostly the rank.
Each run is an ordinary one: open it to pause, resume or cancel it alone.

Where a sweep stops what is clearly worse, a run ends early when a paired test on the same
evaluation rows says that another is better. It keeps its checkpoint and can be resumed by itself.
""")


@dataclass(frozen=True)
class SweepParts:
    """The tab's components; `sweep_id` and `fingerprint` are hidden."""

    sweep_id: gr.Textbox
    fingerprint: gr.Textbox
    heading: gr.HTML
    actions: Mapping[str, gr.Button]
    curves: gr.HTML
    runs: gr.HTML
    all_sweeps: gr.HTML
    proposals: ProposalFields
    problem: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        texts = (self.fingerprint, self.heading, self.curves, self.runs, self.all_sweeps)
        return [*texts, *self.actions.values(), *self.proposals.outputs]

    def showing(self, content: SweepContent) -> Update:
        buttons: Update = {
            button: gr.Button(visible=name in content.actions)
            for name, button in self.actions.items()
        }
        return {
            self.fingerprint: content.fingerprint,
            self.heading: content.heading,
            self.curves: content.curves,
            self.runs: content.runs,
            **buttons,
        }


def build_section(engine: Engine, tab: gr.Tab) -> gr.Timer:
    """Lay out and wire the tab. Returns the timer, to be active while the tab is shown."""
    parts = _lay_out(engine)
    layout.how_this_works(tr(HELP), tr("How sweeps work"))
    timer = gr.Timer(REFRESH_S, active=False)
    _wire(engine, parts, tab, timer)
    return timer


def _lay_out(engine: Engine) -> SweepParts:
    sweep_id = gr.Textbox(visible=False, elem_id="selected-sweep-id")
    fingerprint = gr.Textbox(visible=False)
    heading = gr.HTML(elem_id="sweep-heading", js_on_load="")
    with gr.Row(elem_classes="rs-actions"):
        actions = {
            name: gr.Button(
                tr(text), visible=False, elem_id=f"sweep-{name}", min_width=90, scale=0, size="sm"
            )
            for name, text in ACTIONS.items()
        }
    problem = problem_box()
    deletion = controls.deletion("delete-sweep")
    sweep_deletion.connect(engine, deletion, sweep_id, actions["delete"], problem)
    curves = live_plot(
        label=tr("Evaluation losses"), elem_id="sweep-curves", height=340, only_in_sight=True
    )
    runs = live_table(label=tr("Runs of the sweep"), file_name="sweep.csv", elem_id="sweep-runs")
    judgement = sweep_judgement.lay_out()
    build_used(engine, sweep_id)
    fields = build_proposals(engine)
    sweep_judgement.connect(engine, judgement, sweep_id, fields)
    layout.section(tr("All sweeps"))
    all_sweeps = live_table(label=tr("All sweeps"), file_name="sweeps.csv", elem_id="all-sweeps")
    return SweepParts(
        sweep_id, fingerprint, heading, actions, curves, runs, all_sweeps, fields, problem
    )


def _wire(engine: Engine, parts: SweepParts, tab: gr.Tab, timer: gr.Timer) -> None:
    sweeps = engine.sweeps

    def open_sweep(request: gr.Request) -> Update:
        views = sweeps.list()
        view, missing = _view_in_address(views, request)
        listed: Update = {parts.all_sweeps: sweep_content.list_value(views)}
        if missing is not None:
            listed[parts.problem] = problem_value(missing)
        if view is None:
            return {**parts.showing(SweepContent(heading=sweep_content.empty())), **listed}
        return {
            parts.sweep_id: view.id,
            **parts.showing(content_of(engine, view)),
            **parts.proposals.offering(view),
            **listed,
        }

    def refresh_sweep(sweep_id: str, fingerprint: str, proposed: str | None) -> Update:
        if not sweep_id:
            return {}
        view = sweeps.get(sweep_id)
        if sweep_content.fingerprint_of(view) == fingerprint:
            return {}
        return {**shown(view), **parts.proposals.keeping(view, proposed)}

    def pause_sweep(sweep_id: str) -> Update:
        return shown(sweeps.pause(sweep_id))

    def resume_sweep(sweep_id: str) -> Update:
        return shown(sweeps.resume(sweep_id))

    def cancel_sweep(sweep_id: str) -> Update:
        return shown(sweeps.cancel(sweep_id))

    def shown(view: SweepView) -> Update:
        listed = sweep_content.list_value(sweeps.list())
        return {**parts.showing(content_of(engine, view)), parts.all_sweeps: listed}

    wire([tab.select], open_sweep, [], [parts.sweep_id, *parts.outputs, parts.problem],
         problem=problem_box())  # fmt: skip
    given = [parts.sweep_id, parts.fingerprint, parts.proposals.run]
    wire([timer.tick], refresh_sweep, given, parts.outputs, problem=problem_box(), queue=False)
    handlers: Mapping[str, Callable[[str], Update]] = {
        "pause": pause_sweep,
        "resume": resume_sweep,
        "cancel": cancel_sweep,
    }
    for name, handler in handlers.items():
        clicked = [parts.actions[name].click]
        wire(clicked, handler, [parts.sweep_id], parts.outputs, problem=parts.problem)


def _view_in_address(
    views: list[SweepView], request: gr.Request
) -> tuple[SweepView | None, NotFound | None]:
    """The sweep that the address names; else the newest, and why where it named another."""
    newest = views[0] if views else None
    named = layout.state_of(request, "sweep")
    if not named:
        return newest, None
    found = next((view for view in views if view.id == named), None)
    if found is not None:
        return found, None
    words = tr("There is no sweep {name}.", name=repr(named))
    if newest:
        words = tr("{problem} The newest is shown.", problem=words)
    return newest, NotFound(words, tr("The table below has every sweep there is."))
