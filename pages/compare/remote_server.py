"""One more column, answered by another server, whose key stays in this process's memory."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_engine.compare.generate.remote_server import RemoteServer, parse_remote_server
from lora_engine.compare.sessions.session import SessionServer
from lora_engine.engine import Engine
from pages.compare import adapter_choice
from pages.compare.chat import Chat
from pages.compare.conversation import Talk
from pages.shared import layout
from pages.shared.wiring import problem_box, wire

LOST = "lost"  # the id of no server: a kept comparison's, until its key is given again


class ServerFields:
    """Where the server is, what its model is called, and the key.

    opened: the components that `kept` gives values for.
    """

    def __init__(self, talk: Talk) -> None:
        self.accordion = layout.folded("A column from another server", "other-server")
        with self.accordion:
            gr.HTML(
                '<p class="rs-compare-words">Any server with OpenAI\'s chat API: vLLM with LoRA '
                "modules, Ollama, <code>transformers serve</code>. It gets the conversation, the "
                "temperature, top-p, seed and token limit. The key is kept in memory only: it is "
                "in no log, no link and no export, and is asked for again after a restart.</p>",
                js_on_load="",
            )
            with gr.Row():
                self.url = gr.Textbox(
                    "", label="Address", placeholder="http://127.0.0.1:8000/v1",
                    elem_id="server-url",
                )  # fmt: skip
                self.name = gr.Textbox("", label="Model's name there", elem_id="server-model")
                self.key = gr.Textbox("", label="Key", type="password", elem_id="server-key")
            with gr.Row(elem_classes="rs-actions"):
                self.add = gr.Button("Add the column", size="sm", elem_id="server-connect")
                self.remove = gr.Button("Remove it", size="sm", elem_id="server-remove")
            self.problem = problem_box()
        self.opened = [talk.server, self.accordion, self.url, self.name]

    def kept(self, server: SessionServer | None) -> list[Any]:
        """A kept comparison's server, open for its key; nothing where it has none."""
        if server is None:
            return ["", *[gr.skip()] * 3]
        return [LOST, gr.Accordion(open=True), server.url, server.model]


def section(engine: Engine, talk: Talk, chat: Chat) -> ServerFields:
    """An accordion: connect a server's column, or take it away."""
    fields = ServerFields(talk)

    def connect_server(
        url: str, name: str, key: str, before: str, base: str, chosen: list[str]
    ) -> tuple:
        server = parse_remote_server(url, name, key)
        connected = talk.servers.add(server)
        if before == LOST:  # what was said in the reopened columns stays
            columns: list[Any] = [gr.skip()] * len(talk.columns)
            columns[1 + len(chosen)] = gr.Chatbot(label=server.title)
            return (connected, "", "", gr.skip(), gr.skip(), *columns)
        return (connected, *begun(base, chosen, server))

    def remove_server(base: str, chosen: list[str]) -> tuple:
        return ("", *begun(base, chosen, None))

    def begun(base: str, chosen: list[str], server: RemoteServer | None) -> tuple:
        status, columns = adapter_choice.begun(engine, base, chosen, server)
        return ("", status, "", "", *columns)

    changed = [talk.server, fields.key, chat.status, talk.session, chat.kept, *talk.columns]
    who = [talk.base, talk.adapters]
    given = [fields.url, fields.name, fields.key, talk.server, *who]
    wire([fields.add.click], connect_server, given, changed, problem=fields.problem)
    wire([fields.remove.click], remove_server, who, changed, problem=fields.problem)
    return fields
