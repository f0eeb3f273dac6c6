"""How the columns are asked: the person's switch, its reason, and what the fields are called.

What is decided, and why, is the engine's (`PromptForm`); here it becomes words and labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from lora_engine.compare.prompts import AskAs
from lora_engine.engine import Engine
from pages.compare.chat import ChatFields
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
    """The reason under the switch, and the question's field and button named after what they do.

    opens: with the switch set, and field and button live.
    """
    form = engine.compare.form(base, adapters, ask_as)
    continues = form.mode == "completion"
    live: dict[str, Any] = {"interactive": True} if opens else {}
    chosen: dict[str, Any] = {"value": ask_as} if opens else {}
    return {
        fields.ask_as: gr.Radio(info=form.reason(partial(column_title, engine)), **chosen),
        chat.question: gr.Textbox(
            label="Text to continue" if continues else "Your question",
            placeholder="Once upon a time" if continues else "Ask both the same thing",
            **live,
        ),
        chat.send: gr.Button("Continue" if continues else "Ask", **live),
    }


def connect(engine: Engine, fields: ConversationFields, chat: ChatFields) -> None:
    """Follow the switch: the next question is asked that way, and Retry asks the last one so."""

    def switch(ask_as: AskAs, base: str, adapters: list[str]) -> Update:
        return show_form(engine, fields, chat, base, adapters, ask_as)

    wire(
        [fields.ask_as.input],
        switch,
        [fields.ask_as, fields.base, fields.adapters],
        [fields.ask_as, chat.question, chat.send],
        problem=chat.problem,
    )
