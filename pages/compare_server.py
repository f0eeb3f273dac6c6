"""One more column, answered by another server, whose key stays in this process's memory."""

from __future__ import annotations

import gradio as gr

from lora_engine.compare.server import server_at
from lora_engine.engine import Engine
from pages import compare_choice
from pages.compare_chat import Chat
from pages.compare_talk import Talk
from pages.wiring import problem_box, wire


def section(engine: Engine, talk: Talk, chat: Chat) -> None:
    """An accordion: where the server is, what its model is called, and the key."""
    with gr.Accordion("A column from another server", open=False, elem_id="other-server"):
        gr.HTML(
            '<p class="rs-compare-words">Any server with OpenAI\'s chat API: vLLM with LoRA '
            "modules, Ollama, <code>transformers serve</code>. It gets the conversation, the "
            "temperature, top-p, seed and token limit. The key is kept in memory only: it is in no "
            "log, no link and no export, and is asked for again after a restart.</p>",
            js_on_load="",
        )
        with gr.Row():
            url = gr.Textbox(
                "", label="Address", placeholder="http://127.0.0.1:8000/v1", elem_id="server-url"
            )
            name = gr.Textbox("", label="Model's name there", elem_id="server-model")
            key = gr.Textbox("", label="Key", type="password", elem_id="server-key")
        with gr.Row(elem_classes="rs-actions"):
            connect = gr.Button("Add the column", size="sm", elem_id="server-connect")
            remove = gr.Button("Remove it", size="sm", elem_id="server-remove")
        problem = problem_box()

    def connect_server(url: str, name: str, key: str, chosen: list[str]) -> tuple:
        server = server_at(url, name, key)
        columns = compare_choice.titled(engine, chosen, server)
        return (talk.servers.add(server), "", "", "", "", *columns)

    def remove_server(chosen: list[str]) -> tuple:
        return ("", "", "", "", "", *compare_choice.titled(engine, chosen, None))

    changed = [talk.server, key, chat.status, talk.session, chat.kept, *talk.columns]
    wire([connect.click], connect_server, [url, name, key, talk.adapters], changed,
         problem=problem)  # fmt: skip
    wire([remove.click], remove_server, [talk.adapters], changed, problem=problem)
