"""What the parts of the compare page share: who is asked how, and what was said so far.

The conversation stands in the columns themselves, so each tab has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings, parse_layers
from lora_engine.compare.generate.comparison_model import BASE_COLUMN, AnswerRequest
from lora_engine.compare.generate.local_and_remote import SERVER_COLUMN
from lora_engine.compare.generate.remote_server import RemoteServer, RemoteServers
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.compare.sessions.session_store import SessionRevision
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.shared import forms, layout

MAX_ADAPTERS = 3
COLUMNS = MAX_ADAPTERS + 2  # the base, the adapters, another server
OWN, BASE, ADAPTER = "own", "base", "adapter"
MEMORIES = [
    ("its own answers", OWN),
    ("the base's answers", BASE),
    ("the first adapter's answers", ADAPTER),
]

FAILED = {"log": "failed"}  # what marks a bubble that says why there is no answer
Turn = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What the page's components held when the person asked.

    memory: OWN, or whose answers every column goes on from. uses: one for each adapter in
    `chosen`. server: the other server in the last column. session: the id under which this is
    kept, or nothing. histories: the messages of each column, the hidden ones too.
    """

    chosen: list[str]
    base: str
    system: str
    memory: str
    sampling: Sampling
    uses: list[AdapterSettings]
    server: RemoteServer | None
    session: SessionRevision | None
    histories: list[list[Turn]]

    @property
    def names(self) -> list[str]:
        """The columns that are shown, in order."""
        return [BASE_COLUMN, *self.chosen, *([SERVER_COLUMN] if self.server else [])]

    @property
    def opening(self) -> list[Message]:
        return [Message("system", self.system)] if self.system.strip() else []

    def requests(self, histories: Sequence[Sequence[Turn]]) -> list[AnswerRequest]:
        """One request a local column to answer the last question of its history."""
        return [
            AnswerRequest(name, name, self._messages(histories, index), self.use_of(name))
            for index, name in enumerate([BASE_COLUMN, *self.chosen])
        ]

    def server_messages(self, histories: Sequence[Sequence[Turn]]) -> list[Message]:
        """What the other server is asked."""
        return self._messages(histories, 1 + len(self.chosen))

    def use_of(self, column: str) -> AdapterSettings:
        """How a column uses its adapter; the base and another server have none to change."""
        return dict(zip(self.chosen, self.uses, strict=True)).get(column, AS_TRAINED)

    def with_layers_off(self, layers: frozenset[int]) -> Said:
        """The same, with these layers of the first adapter switched off and no others."""
        first, *others = self.uses
        return replace(self, uses=[replace(first, layers_off=layers), *others])

    def title(self, engine: Engine, column: str) -> str:
        """What a column is called on the page."""
        if column == SERVER_COLUMN and self.server:
            return self.server.title
        return title(engine, column)

    def heading(self, engine: Engine, column: str) -> str:
        """Its title, with how its adapter is used where that is not as trained."""
        return self.headed(column, self.title(engine, column))

    def headed(self, column: str, title: str) -> str:
        """`heading` of a column whose title is known."""
        return self.use_of(column).label(title)

    def _messages(self, histories: Sequence[Sequence[Turn]], index: int) -> list[Message]:
        if self.memory == BASE:
            index = 0
        elif self.memory == ADAPTER and self.chosen:
            index = 1
        return [*self.opening, *messages_of(histories[index])]


@dataclass(frozen=True)
class Talk:
    """The components that say who is asked, how, and what was said.

    server: the id of the other server in `servers`, where its key is.
    """

    adapters: gr.Dropdown
    base: gr.Dropdown
    system: gr.Textbox
    memory: gr.Dropdown
    sampling: Sequence[Component]
    strengths: Sequence[gr.Slider]
    layers_off: Sequence[gr.Textbox]
    server: gr.Textbox
    session: gr.Textbox
    servers: RemoteServers
    columns: Sequence[gr.Chatbot]

    @property
    def inputs(self) -> list[Component]:
        single = [self.adapters, self.base, self.system, self.memory]
        ids = [self.server, self.session]
        return [*single, *self.sampling, *self.uses, *ids, *self.columns]

    @property
    def uses(self) -> list[Component]:
        """All strengths, then all layers switched off."""
        return [*self.strengths, *self.layers_off]

    @property
    def seed(self) -> Component:
        return self.sampling[list(Sampling.model_fields).index("seed")]

    def read(self, values: Sequence[Any]) -> Said:
        """The values of `inputs`. Raises EngineError for wrong sampling fields or layers."""
        chosen, base, system, memory, *rest = values
        numbers, rest = rest[: len(self.sampling)], rest[len(self.sampling) :]
        strengths, rest = rest[: len(self.strengths)], rest[len(self.strengths) :]
        layers_off, rest = rest[: len(self.layers_off)], rest[len(self.layers_off) :]
        server, session, *histories = rest
        uses = [
            AdapterSettings(float(strength), parse_layers(layers or ""))
            for strength, layers, _ in zip(strengths, layers_off, chosen or [], strict=False)
        ]
        return Said(
            chosen=list(chosen or []),
            base=base,
            system=system or "",
            memory=memory,
            sampling=forms.numbers_read(Sampling, numbers),
            uses=uses,
            server=self.servers.get(server) if server else None,
            session=SessionRevision.parse(session) if session else None,
            histories=[turns(history) for history in histories],
        )


def column(index: int) -> gr.Chatbot:
    """One column of the conversation; what a model writes is rendered, its HTML is not."""
    return gr.Chatbot(
        label=BASE_COLUMN, visible=index < 2, height=380, elem_id=f"column-{index}",
        buttons=["copy"], feedback_options=None, layout="bubble", allow_tags=False,
        latex_delimiters=layout.LATEX, min_width=256, editable="user",
    )  # fmt: skip


def column_as(history: Sequence[Turn], heading: str, other_template: bool = False) -> gr.Chatbot:
    """A column that is shown: what was said, under a heading that is red where that is wrong."""
    words = f"{heading}: another chat template" if other_template else heading
    return gr.Chatbot(
        value=list(history), label=words, visible=True,
        elem_classes=["rs-other-template"] if other_template else [],
    )  # fmt: skip


def columns_as(shown: Sequence[gr.Chatbot]) -> list[gr.Chatbot]:
    """Every column of the page: the rest emptied and hidden."""
    hidden = (gr.Chatbot(value=[], visible=False) for _ in range(COLUMNS - len(shown)))
    return [*shown, *hidden]


def strength(index: int) -> gr.Slider:
    """How much of an adapter is used; live: its column answers the last question again."""
    return gr.Slider(
        0.0, 2.0, value=1.0, step=0.05, label="Strength", visible=False, min_width=200,
        info="0 is the base, 1 as trained.",
        elem_id=f"strength-{index}",
    )  # fmt: skip


def layers_off(index: int) -> gr.Textbox:
    """In which layers an adapter is not used; Enter answers the last question again."""
    return gr.Textbox(
        "", label="Layers off", visible=False, min_width=200, placeholder="none",
        info="Such as 0-3, 7. Enter answers the last question again.", max_lines=1,
        elem_id=f"layers-off-{index}",
    )  # fmt: skip


def memory_field() -> gr.Dropdown:
    return gr.Dropdown(
        MEMORIES, value=OWN, label="Each column goes on from", elem_id="memory",
        info="What a column takes for its own earlier answers when it is asked again.",
    )  # fmt: skip


def hidden_field(name: str) -> gr.Textbox:
    """An id that the page carries along without showing it."""
    return gr.Textbox("", visible="hidden", elem_id=name, label=name)


def turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def failed_turn(text: str, problem: str) -> Turn:
    """What stands in place of an answer that broke off: what came of it, and why."""
    return {**turn("assistant", f"{text}\n\n{problem}".strip()), "metadata": FAILED}


def is_failed(item: Turn) -> bool:
    """Whether a message is our word on a missing answer; no model is given it to go on from."""
    return (item.get("metadata") or {}).get("log") == FAILED["log"]


def turns(history: list | None) -> list[Turn]:
    """A column's messages as plain roles and texts, those of `failed_turn` marked."""
    said = []
    for message in history or []:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        marked = {"metadata": FAILED} if is_failed(message) else {}
        said.append({**turn(message["role"], content), **marked})
    return said


def messages_of(said: Sequence[Turn]) -> list[Message]:
    return [Message(item["role"], "" if is_failed(item) else item["content"]) for item in said]


def asked_last(histories: Sequence[Sequence[Turn]]) -> list[list[Turn]]:
    """Every history up to and with its last question. Raises EngineError where there is none."""
    cut = []
    for history in histories:
        places = [place for place, item in enumerate(history) if item["role"] == "user"]
        cut.append(list(history[: places[-1] + 1]) if places else [])
    if not any(cut):
        raise EngineError("Nothing was asked yet.", "Ask something first.")
    return cut


def title(engine: Engine, column: str) -> str:
    return "Base" if column == BASE_COLUMN else engine.adapters.get(column).name


def last_answer(said: Said, index: int) -> tuple[list[Message], str]:
    """The conversation of a column before its newest answer, and that answer."""
    history = said.histories[index]
    if len(history) < 2 or history[-1]["role"] != "assistant" or not history[-1]["content"]:
        raise EngineError("There is no answer yet.", "Ask something first.")
    return [*said.opening, *messages_of(history[:-1])], history[-1]["content"]
