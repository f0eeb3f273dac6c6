"""The conversation as one browser tab holds it: who is asked how, and every column's messages.

It stands in the page's components, so each tab has its own. Knows no component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lora_engine.compare.generate import (
    AS_TRAINED,
    BASE_COLUMN,
    SERVER_COLUMN,
    AdapterSettings,
    AnswerRequest,
    ComparisonModel,
    RemoteServer,
    Sampling,
)
from lora_engine.compare.prompts import AskAs
from lora_engine.compare.sessions import SessionRevision
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr

OWN, BASE, ADAPTER = "own", "base", "adapter"  # whose answers a column goes on from

FAILED = {"log": "failed"}  # marks a bubble that says why there is no answer
SAMPLED = {"log": "sampled"}  # marks a question and answers that a run noted, and nobody asked here
ChatMessage = dict[str, Any]  # as gr.Chatbot holds it
History = Sequence[ChatMessage]
Histories = Mapping[str, History]  # by column, those that are shown


@dataclass(frozen=True)
class Conversation:
    """What the page's components hold when the person asks.

    ask_as: the person's choice of how every column is asked. memory: OWN, or whose answers every
    column goes on from. settings: one for each adapter in `adapters`. server: the other server,
    which has the last column. session: where this conversation is saved, if it is. histories: the
    messages of each column.
    """

    adapters: list[str]
    base: str
    ask_as: AskAs
    system: str
    memory: str
    sampling: Sampling
    settings: list[AdapterSettings]
    server: RemoteServer | None
    session: SessionRevision | None
    histories: Histories

    def model(self, engine: Engine) -> ComparisonModel:
        """The base and the adapters in memory, asked as the person chose. Raises EngineError."""
        return engine.compare.model(self.base, self.adapters, self.ask_as)

    @property
    def columns(self) -> list[str]:
        """The columns that are shown, in order."""
        return column_names(self.adapters, self.server is not None)

    @property
    def system_messages(self) -> list[Message]:
        """What every column's conversation begins with."""
        return [Message("system", self.system)] if self.system.strip() else []

    def requests(self, histories: Histories) -> list[AnswerRequest]:
        """One request for each local column, to answer the last question of its history."""
        return [
            AnswerRequest(name, name, self._messages(histories, name), self.settings_of(name))
            for name in column_names(self.adapters)
        ]

    def server_messages(self, histories: Histories) -> list[Message]:
        """What the other server is asked."""
        return self._messages(histories, SERVER_COLUMN)

    def settings_of(self, column: str) -> AdapterSettings:
        """How a column uses its adapter; the base and another server have nothing to change."""
        return dict(zip(self.adapters, self.settings, strict=True)).get(column, AS_TRAINED)

    def with_layers_off(self, layers: frozenset[int]) -> Conversation:
        """The same, with these layers of the first adapter switched off and no others."""
        first, *others = self.settings
        return replace(self, settings=[replace(first, layers_off=layers), *others])

    def with_seed(self, seed: int) -> Conversation:
        """The same, with another seed."""
        return replace(self, sampling=self.sampling.model_copy(update={"seed": seed}))

    def title(self, engine: Engine, column: str) -> str:
        """What a column is called on the page."""
        if column == SERVER_COLUMN and self.server:
            return self.server.title
        return column_title(engine, column)

    def label(self, engine: Engine, column: str) -> str:
        """A column's title, with how its adapter is used where that is not as trained."""
        return self.settings_of(column).label(self.title(engine, column))

    def last_answer(self, column: str) -> tuple[list[Message], str]:
        """A column's conversation before its newest answer, and that answer.

        Raises EngineError where there is none.
        """
        history = self.histories[column]
        if len(history) < 2 or history[-1]["role"] != "assistant" or not history[-1]["content"]:
            raise EngineError(tr("There is no answer yet."), tr("Ask something first."))
        return [*self.system_messages, *model_messages(history[:-1])], history[-1]["content"]

    def _messages(self, histories: Histories, column: str) -> list[Message]:
        if self.memory == BASE:
            column = BASE_COLUMN
        elif self.memory == ADAPTER and self.adapters:
            column = self.adapters[0]
        return [*self.system_messages, *model_messages(histories[column])]


def column_names(adapters: Sequence[str], with_server: bool = False) -> list[str]:
    """The base, the adapters and perhaps another server, as they stand side by side."""
    return [BASE_COLUMN, *adapters, *([SERVER_COLUMN] if with_server else [])]


def column_title(engine: Engine, column: str) -> str:
    """What the base's or an adapter's column is called on the page."""
    return tr("Base") if column == BASE_COLUMN else engine.adapters.get(column).name


def chat_message(role: str, content: str) -> ChatMessage:
    return {"role": role, "content": content}


def failed_message(text: str, problem: str) -> ChatMessage:
    """What stands in place of an answer that broke off: the text so far, and why it ended."""
    return {**chat_message("assistant", f"{text}\n\n{problem}".strip()), "metadata": FAILED}


def sampled_message(role: str, content: str) -> ChatMessage:
    """A question or an answer that a run noted; what is asked next does not go on from it."""
    return {**chat_message(role, content), "metadata": SAMPLED}


def is_failed(message: ChatMessage) -> bool:
    """Whether a message says why there is no answer; no model is given it to go on from."""
    return _mark(message) == FAILED


def is_sampled(message: ChatMessage) -> bool:
    """Whether a message is a run's, and was not asked here."""
    return _mark(message) == SAMPLED


def _mark(message: ChatMessage) -> dict[str, str]:
    """FAILED, SAMPLED, or nothing."""
    log = (message.get("metadata") or {}).get("log")
    return {"log": log} if log else {}


def plain_messages(history: Sequence[Any] | None) -> list[ChatMessage]:
    """A chatbot's value as plain roles and texts, with its marks kept."""
    messages = []
    for message in history or []:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        mark = _mark(message)
        marked = {"metadata": mark} if mark in (FAILED, SAMPLED) else {}
        messages.append({**chat_message(message["role"], content), **marked})
    return messages


def model_messages(history: History) -> list[Message]:
    """The messages as a model reads them."""
    return [Message(item["role"], "" if is_failed(item) else item["content"]) for item in history]


def without_sampled(histories: Histories) -> dict[str, History]:
    """The histories without what a run noted: what is asked next does not go on from that."""
    return {
        column: [item for item in history if not is_sampled(item)]
        for column, history in histories.items()
    }


def up_to_last_question(histories: Histories) -> dict[str, History]:
    """Every history up to and with its last question, which then is asked here also where a run
    noted it. Raises EngineError where there is none."""
    cut: dict[str, History] = {}
    for column, history in histories.items():
        places = [place for place, item in enumerate(history) if item["role"] == "user"]
        asked = history[: places[-1] + 1] if places else []
        cut[column] = [
            chat_message(item["role"], item["content"]) if is_sampled(item) else item
            for item in asked
        ]
    if not any(cut.values()):
        raise EngineError(tr("Nothing was asked yet."), tr("Ask something first."))
    return cut
