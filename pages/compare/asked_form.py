"""How the columns are asked: the person's switch, its reason, and what the fields are called.

What is decided, and why, is the engine's (`PromptForm`); here it becomes words and labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from gradio.blocks import Block

from lora_engine.compare.prompts import AskAs
from lora_engine.engine import Engine
from lora_engine.language import tr
from pages.compare.chat import QUESTION, QUESTION_EXAMPLE, ChatFields
from pages.compare.conversation import column_title
from pages.compare.conversation_fields import ConversationFields
from pages.shared.wiring import Update, wire


def show_form(
    engine: Engine,
    fields: ConversationFields,
    chat: ChatFields,
    base: str,
    adapters: Sequence[str],
    ask_as: AskAs,
    opens: bool = False,
) -> Update:
    """The reason under the switch and above a text; field and button named after what they do.

    opens: with the switch set, and field and button live.
    """
    form = engine.compare.form(base, adapters, ask_as)
    continues = form.mode == "completion"
    reason = form.reason(partial(column_title, engine))
    live: dict[str, Any] = {"interactive": True} if opens else {}
    chosen: dict[str, Any] = {"value": ask_as} if opens else {}
    return {
        fields.ask_as: gr.Radio(info=reason, **chosen),
        chat.reason: f"<p>{escape(reason)}</p>" if continues else "",
        chat.question: gr.Textbox(
            label=tr("Text to continue") if continues else tr(QUESTION),
            placeholder=tr("Once upon a time") if continues else tr(QUESTION_EXAMPLE),
            **live,
        ),
        chat.send: gr.Button(tr("Continue") if continues else tr("Ask"), **live),
    }


def form_parts(fields: ConversationFields, chat: ChatFields) -> list[Block]:
    """What `show_form` changes."""
    return [fields.ask_as, chat.reason, chat.question, chat.send]


def connect(engine: Engine, fields: ConversationFields, chat: ChatFields) -> None:
    """Follow the switch: the next question is asked that way, and Retry asks the last one so."""

    def switch(ask_as: AskAs, base: str, adapters: list[str]) -> Update:
        return show_form(engine, fields, chat, base, adapters, ask_as)

    wire(
        [fields.ask_as.input],
        switch,
        [fields.ask_as, fields.base, fields.adapters],
        form_parts(fields, chat),
        problem=chat.problem,
    )
