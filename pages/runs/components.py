"""The components of the runs page, and how a selection of runs becomes their values.

Knows nothing of events; `page` binds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from lora_engine.engine import Engine
from lora_engine.errors import NotFound
from pages.runs import controls, samples_and_updates
from pages.runs.content import content_of
from pages.runs.selection import Selection, SelectionFields
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, problem_value


@dataclass(frozen=True)
class Shown:
    """The components that show a selection; `fingerprint` is hidden."""

    fingerprint: gr.Textbox
    heading: gr.HTML
    start: gr.Button
    actions: Mapping[str, gr.Button]
    plots: Mapping[str, gr.HTML]
    facts: gr.HTML
    table: gr.HTML
    log: gr.Textbox
    command: gr.Textbox

    @property
    def outputs(self) -> list[Block]:
        texts = (self.fingerprint, self.heading, self.facts, self.table, self.log, self.command)
        return [*texts, self.start, *self.actions.values(), *self.plots.values()]

    def showing(self, engine: Engine, selection: Selection) -> Update:
        """The components' values for a selection."""
        content = content_of(engine, selection)
        buttons: Update = {
            button: gr.Button(visible=name in content.actions)
            for name, button in self.actions.items()
        }
        return {
            self.fingerprint: content.fingerprint,
            self.heading: content.heading,
            self.start: gr.Button(visible=content.offers_example),
            **buttons,
            **{plot: content.plots[key] for key, plot in self.plots.items()},
            self.facts: content.facts,
            self.table: content.table,
            self.log: content.log,
            self.command: content.command,
        }


@dataclass(frozen=True)
class RunsPage:
    """The page's components, and what its handlers share."""

    engine: Engine
    fields: SelectionFields
    shown: Shown
    note: controls.Note
    deletion: controls.Deletion
    extension: controls.Extension
    reports: samples_and_updates.ReportParts
    problem: gr.HTML

    @property
    def run_fields(self) -> list[Block]:
        """What changes when another run is shown, beside `shown`."""
        return [self.fields.run_id, self.note.text, self.note.tags]

    def show(self, selection: Selection) -> Update:
        return self.shown.showing(self.engine, selection)

    def show_run(self, selection: Selection) -> Update:
        """Another run, with its note and tags as the person wrote them."""
        note, tags = "", ""
        if selection.run_id:
            record = self.engine.runs.get(selection.run_id).record
            note, tags = record.note, ", ".join(record.tags)
        return {
            self.fields.run_id: selection.run_id,
            self.note.text: note,
            self.note.tags: tags,
            **self.show(selection),
        }

    def told(self, missing: NotFound | None) -> Update:
        return {} if missing is None else {self.problem: problem_value(missing)}

    @property
    def correct_address(self) -> dict[str, Any]:
        """For `.then(**…)`: an address that names a missing run names the one that is shown."""
        return {
            "fn": None,
            "inputs": [self.shown.fingerprint, self.fields.run_id],
            "js": event_js("runs/address.js", "correctRun"),
            "api_visibility": "private",
        }
