"""One more column, answered by another server, whose key stays in this process's memory."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from lora_engine.compare.generate import RemoteServer
from lora_engine.compare.sessions import SessionServer
from lora_engine.engine import Engine
from lora_engine.language import tr
from pages.compare import adapter_choice, tools
from pages.compare.conversation_fields import ConversationFields, Values
from pages.shared import layout
from pages.shared.wiring import Update, problem_box, wire

LOST = "lost"  # the id of no server: a saved comparison's, until its key is given again


@dataclass(frozen=True)
class ServerFields:
    """Where the server is, what its model is called, and the key."""

    url: gr.Textbox
    model: gr.Textbox
    key: gr.Textbox
    add: gr.Button
    remove: gr.Button
    problem: gr.HTML

    def reopened(self, fields: ConversationFields, server: SessionServer | None) -> Update:
        """A saved comparison's server, waiting for its key; nothing where it has none."""
        if server is None:
            return {fields.server: ""}
        return {
            fields.server: LOST,
            self.url: server.url,
            self.model: server.model,
        }


def server_fields(tabs: gr.Tabs) -> ServerFields:
    """A tab: where the server is, and the buttons that add its column and take it away."""
    with tools.inside(tabs, tools.SERVER):
        layout.section(
            tr("A column from another server"),
            tr(
                "Any server with OpenAI's chat API: vLLM with LoRA modules, Ollama, transformers "
                "serve. It gets the conversation (or the text to continue), the temperature, "
                "top-p, seed and token limit. The key is kept in memory only: it is in no log, no "
                "link and no export, and is asked for again after a restart."
            ),
        )
        with gr.Row():
            url = gr.Textbox(
                "",
                label=tr("Address"),
                placeholder="http://127.0.0.1:8000/v1",
                elem_id="server-url",
            )
            model = gr.Textbox("", label=tr("Model's name there"), elem_id="server-model")
            key = gr.Textbox("", label=tr("Key"), type="password", elem_id="server-key")
        with gr.Row(elem_classes="rs-actions"):
            add = gr.Button(tr("Add the column"), variant="primary", elem_id="server-connect")
            remove = gr.Button(tr("Remove it"), elem_id="server-remove")
        problem = problem_box()
    return ServerFields(url, model, key, add, remove, problem)


def connect(engine: Engine, fields: ConversationFields, server: ServerFields) -> None:
    """Bind the buttons that add the server's column and take it away."""

    def add_server(values: Values) -> Update:
        url, model, key = (values[one] for one in (server.url, server.model, server.key))
        found = engine.compare.another_server(url, model, key)
        connected: Update = {
            fields.server: fields.servers.add(found),
            server.key: "",
            **tools.shown(fields.tabs, tools.ANSWERS),
        }
        if values[fields.server] != LOST:
            return {**connected, **begin_anew(values, found)}
        # A reopened comparison goes on: its columns keep what they hold.
        column = list(fields.columns_of(values[fields.adapters], with_server=True).values())[-1]
        return {**connected, fields.status: "", column: gr.Chatbot(label=found.title)}

    def remove_server(values: Values) -> Update:
        return {fields.server: "", server.key: "", **begin_anew(values, None)}

    def begin_anew(values: Values, found: RemoteServer | None) -> Update:
        base, adapters, ask_as = (
            values[one] for one in (fields.base, fields.adapters, fields.ask_as)
        )
        asked = adapter_choice.Asked(base, adapters, ask_as, found)
        return adapter_choice.begin_anew(engine, fields, asked)

    outputs = [fields.server, server.key, fields.tabs, *fields.answers]
    who: set[Component] = {fields.base, fields.adapters, fields.ask_as}
    given = {server.url, server.model, server.key, fields.server, *who}
    wire([server.add.click], add_server, given, outputs, problem=server.problem)
    wire([server.remove.click], remove_server, who, outputs, problem=server.problem)
