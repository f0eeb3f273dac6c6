"""What the chat keeps where an answer breaks off: nothing that was said is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.base_models import resolve_base_model
from lora_engine.compare.generate.remote_server import RemoteServers, parse_remote_server
from lora_engine.compare.sessions.markdown import as_markdown
from lora_engine.compare.sessions.session import Session
from lora_engine.compare.sessions.session_store import SessionRevision
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from pages.compare.chat import ChatHandlers, chat_fields
from pages.compare.conversation import OWN, chat_message, model_messages, plain_messages
from pages.compare.conversation_fields import (
    COLUMNS,
    ConversationFields,
    SettingsFields,
    ask_as_field,
    column_box,
    hidden_field,
    layers_off_field,
    memory_field,
    sampling_fields,
    strength_field,
    system_field,
)
from pages.compare.saved_session import show_session
from pages.compare.tools import tool_tabs
from pages.shared.adapter_choices import MAX_COMPARED
from pages.shared.wiring import Update
from tests.compare_models import save_adapter

QUESTION = "What colour is the sky?"
BEFORE = [chat_message("user", "Hello!"), chat_message("assistant", "Good day.")]
TAB = SimpleNamespace(session_hash="a tab")


class Chatting:
    """The page's handlers for one adapter on a tiny base, and what its components hold."""

    def __init__(self, engine: Engine, base: str, adapter: str) -> None:
        self.engine, self.base, self.adapter = engine, base, adapter
        with gr.Blocks():
            self.chat = chat_fields()
            self.fields = ConversationFields(
                adapters=gr.Dropdown(),
                base=gr.Dropdown(),
                ask_as=ask_as_field(),
                system=system_field(),
                memory=memory_field(),
                sampling=sampling_fields(),
                settings=[
                    SettingsFields(strength_field(n), layers_off_field(n))
                    for n in range(MAX_COMPARED)
                ],
                servers=RemoteServers(),
                server=hidden_field("server"),
                session=hidden_field("session"),
                tabs=tool_tabs(),
                columns=[column_box(n) for n in range(COLUMNS)],
                status=self.chat.status,
                links=self.chat.links,
            )
            self.handlers = ChatHandlers(engine, self.fields, self.chat)

    def ask(self, server: str = "", limit: int = 40) -> Iterator[Update]:
        fields = self.fields
        values = dict.fromkeys(fields.inputs, "")
        values |= dict.fromkeys(fields.columns, [])
        values |= dict.fromkeys(fields.columns[: 3 if server else 2], BEFORE)
        values |= {one.strength: 1.0 for one in fields.settings}
        sampling = Sampling(max_new_tokens=limit).model_dump()
        values |= {field: sampling[name] for name, field in fields.sampling.items()}
        values |= {fields.adapters: [self.adapter], fields.base: self.base, fields.memory: OWN}
        values |= {fields.ask_as: "auto", fields.server: server, self.chat.question: QUESTION}
        return self.handlers.ask(self.chat.question)(values, TAB)

    def session(self, shown: Update) -> Session:
        revision = SessionRevision.parse(shown[self.fields.session])
        return self.engine.compare.sessions.load(revision.id)


@pytest.fixture
def chatting(settings, tmp_path, tiny_llama) -> Chatting:
    engine = Engine(settings)
    base = resolve_base_model(str(tiny_llama), settings)
    return Chatting(engine, str(tiny_llama), str(save_adapter(tmp_path / "noisy", base, seed=1)))


def asked_until_error(
    chatting: Chatting, at_answer: Callable[[], object]
) -> tuple[list[Update], EngineError]:
    """Everything shown until the error; `at_answer` is called once, at the first words."""
    seen: list[Update] = []
    answering = False
    try:
        for shown in chatting.ask():
            seen.append(shown)
            if not answering and "tokens" in shown.get(chatting.fields.status, ""):
                answering = True
                at_answer()
    except EngineError as error:
        return seen, error
    pytest.fail("no error was raised")


def test_an_answer_is_kept_where_its_adapter_is_deleted_meanwhile(chatting: Chatting) -> None:
    seen, error = asked_until_error(chatting, lambda: shutil.rmtree(chatting.adapter))
    assert "noisy" in str(error)
    kept = chatting.session(seen[-1])
    assert [one.title for one in kept.columns] == ["Base", "noisy"]
    for box, one in zip(chatting.fields.columns, kept.columns, strict=False):
        messages = [(item.role, item.content) for item in one.turns]
        assert messages == [(item["role"], item["content"]) for item in seen[-2][box]]
        assert messages[2] == ("user", QUESTION)
        assert messages[3][1]


def test_a_question_that_got_no_word_goes_back_to_its_field(chatting: Chatting) -> None:
    shutil.rmtree(chatting.adapter)
    seen, _ = asked_until_error(chatting, lambda: None)
    assert seen[0][chatting.chat.question] == ""
    assert seen[-1][chatting.chat.question] == QUESTION
    assert [seen[-1][box] for box in chatting.fields.columns[:2]] == [BEFORE, BEFORE]
    kept = [shown.get(chatting.fields.session, "") for shown in seen]
    assert set(kept) == {""}, "nothing was kept"


def test_the_next_question_can_be_typed_while_this_one_is_answered(chatting: Chatting) -> None:
    first, *rest = chatting.ask()
    assert first[chatting.chat.question] == ""
    assert len(rest) > 2
    assert all(chatting.chat.question not in shown for shown in rest)


def test_a_failed_server_says_so_in_its_bubble_and_no_model_reads_it(chatting: Chatting) -> None:
    fields = chatting.fields
    server = fields.servers.add(parse_remote_server("http://127.0.0.1:1/v1", "other"))
    *_, answered, last = chatting.ask(server)
    history = answered[fields.columns[2]]
    assert "127.0.0.1:1 gave no answer" in history[-1]["content"]
    assert model_messages(plain_messages(history))[-1] == Message("assistant", "")
    assert "gave no answer" in answered[fields.status]

    kept = chatting.session(last)
    assert kept.columns[2].turns[-1].failed
    assert "gave no answer" in as_markdown(kept)
    reopened = show_session(chatting.engine, fields, kept)[fields.columns[2]].value
    assert model_messages(plain_messages(as_dicts(reopened)))[-1] == Message("assistant", "")
    assert not kept.columns[0].turns[-1].failed


def as_dicts(value: Any) -> list[dict]:
    return [item if isinstance(item, dict) else item.model_dump() for item in value]
