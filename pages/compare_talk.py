"""What the parts of the compare page share: the conversation in the columns, and its close look.

The conversation stands in the columns themselves; nothing of it is kept on the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.compare.model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.tokens import compare_tokens, strength_curve
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_detail
from pages.live import live_plot, live_table
from pages.wiring import problem_box, wire


@dataclass(frozen=True)
class Talk:
    """The components that say who is asked, and what was said."""

    adapters: gr.Dropdown
    base: gr.Dropdown
    system: gr.Textbox
    columns: Sequence[gr.Chatbot]

    @property
    def inputs(self) -> list[Component]:
        return [self.adapters, self.base, self.system, *self.columns]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def turns(history: list | None) -> list[dict[str, str]]:
    """A column's messages as plain roles and texts."""
    said = []
    for message in history or []:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        said.append(turn(message["role"], content))
    return said


def title(engine: Engine, column: str) -> str:
    return "Base" if column == BASE_COLUMN else engine.adapter(column).name


def detail_section(engine: Engine, talk: Talk) -> None:
    """The last answer token by token, and how it depends on the adapter's strength."""
    with gr.Accordion("The last answer, token by token", open=False, elem_id="detail"):
        with gr.Row(elem_classes="rs-actions"):
            whose = gr.Radio(
                [("the base's answer", 0), ("the first adapter's answer", 1)],
                value=1, label="Look at", elem_id="whose", scale=3,
            )  # fmt: skip
            look = gr.Button("Look closely", elem_id="look", scale=1)
        problem = problem_box()
        tokens = gr.HTML(elem_id="tokens")
        curve = live_plot(label="Answer against strength", height=240, elem_id="strength-curve")
        table = live_table(label="Tokens", file_name="tokens.csv", elem_id="token-table")

        def look_closely(index: int, *values: Any) -> tuple[str, str, str]:
            chosen, base, system, *histories = values
            if not chosen:
                raise EngineError("No adapter is chosen.", "Choose one above, then ask something.")
            messages, answer = _last_answer(turns(histories[index]), system)
            model = engine.comparison(base, chosen[:1])
            return _close_look(engine, model, chosen[0], messages, answer)

        wire(
            [look.click], look_closely, [whose, *talk.inputs], [tokens, curve, table],
            problem=problem, show_progress="minimal",
        )  # fmt: skip


def _close_look(
    engine: Engine, model: ComparisonModel, column: str, messages: list[Message], answer: str
) -> tuple[str, str, str]:
    found = compare_tokens(model, messages, answer)
    try:
        curve = compare_detail.strength_figure(strength_curve(model, column, messages, answer))
    except EngineError:
        # DoRA and modules trained whole have no strength to vary; the tokens still do.
        curve = ""
    return (
        compare_detail.coloured(found, column, lambda name: title(engine, name)),
        curve,
        compare_detail.token_table(found, column),
    )


def _last_answer(said: list[dict[str, str]], system: str) -> tuple[list[Message], str]:
    """The conversation before the newest answer, and that answer."""
    if len(said) < 2 or said[-1]["role"] != "assistant" or not said[-1]["content"]:
        raise EngineError("There is no answer yet.", "Ask something first.")
    opening = [Message("system", system)] if system.strip() else []
    before = [Message(item["role"], item["content"]) for item in said[:-1]]
    return [*opening, *before], said[-1]["content"]
