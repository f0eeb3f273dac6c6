"""Adding an adapter made elsewhere: a folder, an uploaded zip, or an id of the model hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr

from lora_engine.adapters import AdapterSummary
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.language import tr
from pages import ADAPTERS
from pages.shared import layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.background_work import (
    ReportProgress,
    TabTasks,
    connect_stop,
    progress_row,
)
from pages.shared.static_files import event_js
from pages.shared.uploads import once_read
from pages.shared.wiring import Update, wire


@dataclass(frozen=True)
class AddFields:
    """What is added and under which name; the two buttons that add it."""

    source: gr.Textbox
    name: gr.Textbox
    add: gr.Button
    upload: gr.UploadButton


def _fields() -> AddFields:
    with gr.Row():
        source = gr.Textbox(
            label=tr("Folder, zip or hub id"), placeholder="org/name",
            info=tr("On the machine that serves this page; only a hub id asks the network."),
            elem_id="field-source", scale=2, min_width=280,
        )  # fmt: skip
        name = gr.Textbox(
            label=tr("Name"), info=tr("Empty: as its source is called."), elem_id="field-name",
            scale=1, min_width=220,
        )  # fmt: skip
    with gr.Row(elem_classes="rs-actions"):
        add = gr.Button(tr("Add"), variant="primary", scale=0, min_width=120, elem_id="add")
        upload = gr.UploadButton(
            tr("Upload a zip"), file_types=[".zip"], scale=0, min_width=160, elem_id="upload-zip"
        )
    return AddFields(source, name, add, upload)


def build_section(engine: Engine) -> None:
    """The fields and their wiring; the page opens at what was added."""
    tasks = TabTasks()
    with layout.folded(tr("Add an adapter"), elem_id="add-adapter"):
        fields, row = _fields(), progress_row("add")
        address = gr.Textbox(visible=False)

    def add_source(source: str, name: str, request: gr.Request) -> Iterator[Update]:
        text = source.strip()
        yield from adding(
            tr("reading {source}", source=text),
            lambda stop: engine.adapters.add(text, name, stop),
            request,
        )

    def add_upload(path: str, name: str, request: gr.Request) -> Iterator[Update]:
        with once_read(path) as file:
            yield from adding(
                tr("unpacking {file}", file=file.name),
                lambda stop: engine.adapters.add_upload(file, file.name, name, stop),
                request,
            )

    def adding(
        doing: str, add_it: Callable[[StopSignal], AdapterSummary], request: gr.Request
    ) -> Iterator[Update]:
        task = tasks.start(request)

        def work(progress: ReportProgress, stop: StopSignal) -> AdapterSummary:
            progress(0.0, doing)
            return add_it(stop)

        def watched() -> Iterator[Update]:
            found = yield from row.watch(task, work)
            yield {address: layout.link(ADAPTERS, adapter=adapter_key(found)), **row.idle()}

        yield {address: ""}
        yield from row.until_stopped(task, watched())

    outputs = [address, *row.outputs]
    for click, handler, given in (
        (fields.add.click, add_source, fields.source),
        (fields.upload.upload, add_upload, fields.upload),
    ):
        added = wire([click], handler, [given, fields.name], outputs, problem=row.problem)
        added.then(
            fn=None, inputs=[address], js=event_js("shared/address.js", "go"),
            api_name="page_open_added", api_visibility="private",
        )  # fmt: skip
    connect_stop(tasks, row)
