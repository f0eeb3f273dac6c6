"""What the parts of the compare page share: who is asked how, and what was said so far.

The conversation stands in the columns themselves, so each tab has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.compare.model import BASE_COLUMN
from lora_engine.compare.sampling import Sampling
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import forms, layout

MAX_ADAPTERS = 3
COLUMNS = MAX_ADAPTERS + 1

Turn = dict[str, str]


@dataclass(frozen=True)
class Said:
    """What the page's components held when the person asked.

    histories: the messages of each column, the hidden ones too.
    """

    chosen: list[str]
    base: str
    system: str
    sampling: Sampling
    histories: list[list[Turn]]

    @property
    def names(self) -> list[str]:
        """The columns that are shown, in order."""
        return [BASE_COLUMN, *self.chosen]

    @property
    def opening(self) -> list[Message]:
        return [Message("system", self.system)] if self.system.strip() else []


@dataclass(frozen=True)
class Talk:
    """The components that say who is asked, how, and what was said."""

    adapters: gr.Dropdown
    base: gr.Dropdown
    system: gr.Textbox
    sampling: Sequence[Component]
    columns: Sequence[gr.Chatbot]

    @property
    def inputs(self) -> list[Component]:
        return [self.adapters, self.base, self.system, *self.sampling, *self.columns]

    def read(self, values: Sequence[Any]) -> Said:
        """The values of `inputs`. Raises InvalidInput for wrong sampling fields."""
        chosen, base, system, *rest = values
        numbers, histories = rest[: len(self.sampling)], rest[len(self.sampling) :]
        return Said(
            chosen=list(chosen or []),
            base=base,
            system=system or "",
            sampling=forms.numbers_read(Sampling, numbers),
            histories=[turns(history) for history in histories],
        )


def column(index: int) -> gr.Chatbot:
    """One column of the conversation; what a model writes is rendered, its HTML is not."""
    return gr.Chatbot(
        label=BASE_COLUMN, visible=index < 2, height=380, elem_id=f"column-{index}",
        buttons=["copy"], feedback_options=None, layout="bubble", allow_tags=False,
        latex_delimiters=layout.LATEX, min_width=280,
    )  # fmt: skip


def turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def turns(history: list | None) -> list[Turn]:
    """A column's messages as plain roles and texts."""
    said = []
    for message in history or []:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        said.append(turn(message["role"], content))
    return said


def messages_of(said: Sequence[Turn]) -> list[Message]:
    return [Message(item["role"], item["content"]) for item in said]


def title(engine: Engine, column: str) -> str:
    return "Base" if column == BASE_COLUMN else engine.adapter(column).name


def last_answer(said: Said, index: int) -> tuple[list[Message], str]:
    """The conversation of a column before its newest answer, and that answer."""
    history = said.histories[index]
    if len(history) < 2 or history[-1]["role"] != "assistant" or not history[-1]["content"]:
        raise EngineError("There is no answer yet.", "Ask something first.")
    return [*said.opening, *messages_of(history[:-1])], history[-1]["content"]
