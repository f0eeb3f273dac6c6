"""A run to share: its link, its spec as a file, and a spec file that fills the form.

A file is chosen, or dropped anywhere on the page (`static/spec_file.js`); what it says wrongly is
left at the default and told at its field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.spec import MAX_SPEC_BYTES, RunSpec, json_document, spec_from
from pages.shared.forms import SpecForm
from pages.shared.static_files import call_js, event_js
from pages.shared.train_link import whole_address_of
from pages.shared.uploads import once_read
from pages.shared.wiring import Update, problem_box, problem_value, wire

SCRIPT = "train/spec_file.js"


@dataclass(frozen=True)
class SharingParts:
    """The buttons. document, address: hidden, what the browser downloads and copies."""

    link: gr.Button
    download: gr.Button
    open: gr.UploadButton
    said: gr.HTML
    problem: gr.HTML
    document: gr.Textbox
    address: gr.Textbox


def lay_out() -> SharingParts:
    with gr.Row(elem_classes="rs-sharing"):
        link = gr.Button(tr("Copy link"), size="sm", elem_id="copy-link", min_width=90)
        download = gr.Button(tr("Download spec"), size="sm", elem_id="download-spec", min_width=90)
        opened = gr.UploadButton(
            tr("Open a spec"), file_types=[".json"], size="sm", elem_id="open-spec", min_width=90
        )
    said = gr.HTML(
        value="",
        html_template='<p class="rs-shared" role="status"></p>',
        js_on_load=call_js(SCRIPT, "dropping", tr("Drop a spec or a dataset to open it.")),
        elem_id="shared-said",
        apply_default_css=False,
    )
    problem = problem_box()
    document, address = (gr.Textbox(visible=False) for _ in range(2))
    return SharingParts(link, download, opened, said, problem, document, address)


def connect(parts: SharingParts, form: SpecForm, shown: Any) -> Any:
    """shown: the form's values for a spec. Returns the event that filled the form, for `.then`."""

    def take_link(values: Mapping[Component, Any]) -> Update:
        return {parts.address: whole_address_of(spec_from(form.document(values)))}

    def take_spec(values: Mapping[Component, Any]) -> Update:
        spec = spec_from(form.document(values))
        return {parts.document: json.dumps(spec.model_dump(mode="json"), indent=2) + "\n"}

    def open_spec(path: str) -> Update:
        with once_read(path) as file:
            spec, wrong = read_what_can_be(file)
        said = problem_value(wrong) if wrong else ""
        return {**shown(spec), parts.problem: said}

    box, name = problem_box(), form.component("name")
    for button, take, part, copy, more, texts in (
        (parts.link, take_link, parts.address, "copyLink", [], [tr("The link is copied.")]),
        (parts.download, take_spec, parts.document, "downloadSpec", [name], []),
    ):
        taken = wire([button.click], take, form.inputs, [part], problem=box)
        taken.then(
            fn=None,
            inputs=[part, *more],
            js=event_js(SCRIPT, copy, *texts),
            api_visibility="private",
            show_progress="hidden",
        )
    outputs = [*form.components, parts.problem]
    return wire([parts.open.upload], open_spec, [parts.open], outputs, problem=box, redraws=[])


def read_what_can_be(path: Path) -> tuple[RunSpec, InvalidInput | None]:
    """The spec in a file without what is wrong in it, and what that is.

    Raises InvalidInput where it is no JSON object at all.
    """
    with path.open("rb") as file:
        document = json_document(file.read(MAX_SPEC_BYTES + 1), tr("The spec"))
    try:
        return spec_from(document), None
    except InvalidInput as error:
        if not isinstance(document, dict):
            raise
        wrong = InvalidInput(
            tr("The spec"), error.problems, tr("The default stands there; correct it here.")
        )
    for _ in range(len(wrong.problems) + 1):
        try:
            return spec_from(document), wrong
        except InvalidInput as error:
            if not _without(document, error.problems):
                break
    return spec_from({}), wrong


def _without(document: Any, problems: Sequence[FieldProblem]) -> bool:
    """Take the wrong fields out; a problem of a whole section takes the section out. Whether
    anything was taken."""
    taken = False
    for problem in problems:
        names = problem.path.split(".")
        while names and not _take_out(document, names):
            names = names[:-1]
        taken = taken or bool(names)
    return taken


def _take_out(node: Any, names: Sequence[str]) -> bool:
    *sections, name = names
    for section in sections:
        node = node.get(section) if isinstance(node, dict) else None
    if isinstance(node, dict) and name in node:
        del node[name]
        return True
    return False
