"""The components of the runs page by the names of their parts, and how a selection fills them.

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
from pages.runs import controls
from pages.runs.content import Content, content_of
from pages.runs.place_form import GoingOn
from pages.runs.selection import Selection, SelectionFields, note_of
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, problem_value


@dataclass(frozen=True)
class Shown:
    """The components that show a selection, by the names that `content` gives its parts.

    fingerprint: hidden; what the page has. news: hidden; what `watching` answered. actions: by the
    names in `controls.ACTIONS`. more: the parts that no event begins at.
    """

    fingerprint: gr.Textbox
    news: gr.Textbox
    runs: gr.HTML
    start: gr.Button
    actions: Mapping[str, gr.Button]
    more: Mapping[str, Block]

    @property
    def parts(self) -> dict[str, Block]:
        return {"runs": self.runs, "start": self.start, **self.actions, **self.more}

    @property
    def outputs(self) -> list[Block]:
        return [self.fingerprint, *self.parts.values()]

    def showing(self, content: Content) -> Update:
        """The components' values for what is new."""
        parts = self.parts
        return {
            self.fingerprint: content.fingerprint,
            **{parts[name]: _value(value) for name, value in content.parts.items()},
        }


def _value(value: str | bool) -> Any:
    return gr.update(visible=value) if isinstance(value, bool) else value


@dataclass(frozen=True)
class RunsPage:
    """The page's components, and what its handlers share."""

    engine: Engine
    fields: SelectionFields
    shown: Shown
    note: controls.Note
    deletion: controls.Deletion
    extension: controls.Extension
    going_on: GoingOn
    problem: gr.HTML

    @property
    def run_fields(self) -> list[Block]:
        """What changes when another run is shown, beside `shown`."""
        return [self.fields.run_id, self.note.text, self.note.tags]

    def show(self, selection: Selection, known: str = "") -> Update:
        return self.shown.showing(content_of(self.engine, selection, known))

    def show_run(self, selection: Selection) -> Update:
        """Another run, with its note and tags as the person wrote them."""
        note, tags = note_of(self.engine, selection.run_id)
        return {
            self.fields.run_id: selection.run_id,
            self.note.text: note,
            self.note.tags: tags,
            **self.show(selection),
        }

    def told(self, missing: NotFound | None) -> Update:
        return {} if missing is None else {self.problem: problem_value(missing)}

    @property
    def apply_news(self) -> dict[str, Any]:
        """For `.then(**…)`: the browser sets what is new, unless the page has moved on."""
        named: dict[str, Block] = {
            **self.shown.parts,
            "run_id": self.fields.run_id,
            "note": self.note.text,
            "tags": self.note.tags,
            "problem": self.problem,
        }
        return {
            "fn": None,
            "inputs": [self.shown.news, self.shown.fingerprint],
            "outputs": [self.shown.fingerprint, *named.values()],
            "js": event_js("runs/news.js", "apply", list(named)),
            "api_visibility": "private",
        }

    @property
    def correct_address(self) -> dict[str, Any]:
        """For `.then(**…)`: an address that names a missing run names the one that is shown."""
        return {
            "fn": None,
            "inputs": [self.shown.fingerprint, self.fields.run_id],
            "js": event_js("runs/address.js", "correctRun"),
            "api_visibility": "private",
        }
