"""What the chat keeps where an answer breaks off: nothing that was said is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.base_models import resolve_base_model
from lora_engine.compare.generate.remote_server import RemoteServers, parse_remote_server
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.compare.sessions.markdown import as_markdown
from lora_engine.compare.sessions.session import Session
from lora_engine.compare.sessions.session_store import SessionRevision
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare.chat import Chat, Handlers
from pages.compare.conversation import (
    COLUMNS,
    MAX_ADAPTERS,
    OWN,
    Talk,
    column,
    hidden_field,
    layers_off,
    memory_field,
    messages_of,
    strength,
    turn,
    turns,
)
from pages.compare.kept_comparison import columns_of
from tests.compare_models import save_adapter

QUESTION = "What colour is the sky?"
BEFORE = [turn("user", "Hello!"), turn("assistant", "Good day.")]
TAB = SimpleNamespace(session_hash="a tab")


class Chatting:
    """The page's handlers for one adapter on a tiny base, and what its components hold."""

    def __init__(self, engine: Engine, base: str, adapter: str) -> None:
        self.engine, self.base, self.adapter = engine, base, adapter
        with gr.Blocks():
            one = [gr.Textbox() for _ in range(3)]
            self.talk = Talk(
                *one,
                memory_field(),
                [gr.Textbox() for _ in Sampling.model_fields],
                [strength(n) for n in range(MAX_ADAPTERS)],
                [layers_off(n) for n in range(MAX_ADAPTERS)],
                hidden_field("server"),
                hidden_field("session"),
                RemoteServers(),
                [column(n) for n in range(COLUMNS)],
            )
            self.does = Handlers(engine, self.talk, Chat())

    def values(self, server: str = "", limit: int = 40) -> list[Any]:
        sampling = Sampling(max_new_tokens=limit).model_dump().values()
        shown = [BEFORE] * (3 if server else 2)
        return [
            [self.adapter],
            self.base,
            "",
            OWN,
            *sampling,
            *[1.0] * MAX_ADAPTERS,
            *[""] * MAX_ADAPTERS,
            server,
            "",
            *shown,
            *[[]] * (COLUMNS - len(shown)),
        ]

    def session(self, shown: tuple) -> Session:
        return self.does.sessions.load(SessionRevision.parse(shown[3]).id)


@pytest.fixture
def chatting(settings, tmp_path, tiny_llama) -> Chatting:
    engine = Engine(settings)
    base = resolve_base_model(str(tiny_llama), settings)
    return Chatting(engine, str(tiny_llama), str(save_adapter(tmp_path / "noisy", base, seed=1)))


def asked_until_error(
    chatting: Chatting, values: list[Any], at_answer: Callable[[], object]
) -> tuple[list[tuple], EngineError]:
    """Everything shown until the error; `at_answer` is called once, at the first words."""
    seen: list[tuple] = []
    answering = False
    try:
        for shown in chatting.does.ask(TAB, QUESTION, *values):
            seen.append(shown)
            if not answering and "tokens" in str(shown[2]):
                answering = True
                at_answer()
    except EngineError as error:
        return seen, error
    pytest.fail("no error was raised")


def test_a_turn_is_kept_where_its_adapter_is_deleted_meanwhile(chatting: Chatting) -> None:
    seen, error = asked_until_error(
        chatting, chatting.values(), lambda: shutil.rmtree(chatting.adapter)
    )
    assert "noisy" in str(error)
    answered = seen[-2][5:7]
    kept = chatting.session(seen[-1])
    assert [one.title for one in kept.columns] == ["Base", "noisy"]
    for shown, one in zip(answered, kept.columns, strict=True):
        said = [(item.role, item.content) for item in one.turns]
        assert said == [(item["role"], item["content"]) for item in shown]
        assert said[2] == ("user", QUESTION)
        assert said[3][1]


def test_a_question_that_got_no_word_goes_back_to_its_field(chatting: Chatting) -> None:
    shutil.rmtree(chatting.adapter)
    seen, _ = asked_until_error(chatting, chatting.values(), lambda: None)
    assert seen[0][0] == ""
    assert seen[-1][0] == QUESTION
    assert seen[-1][5:7] == (BEFORE, BEFORE)
    assert seen[-1][3] == "", "nothing was kept"


def test_the_next_question_can_be_typed_while_this_one_is_answered(chatting: Chatting) -> None:
    first, *rest = chatting.does.ask(TAB, QUESTION, *chatting.values())
    assert first[0] == ""
    assert len(rest) > 2
    assert all(shown[0] == gr.skip() for shown in rest)


def test_a_failed_server_says_so_in_its_bubble_and_no_model_reads_it(chatting: Chatting) -> None:
    server = chatting.talk.servers.add(parse_remote_server("http://127.0.0.1:1/v1", "other"))
    *_, answered, last = chatting.does.ask(TAB, QUESTION, *chatting.values(server))
    bubble = answered[7][-1]
    assert "The server 127.0.0.1:1 gave no answer" in bubble["content"]
    assert messages_of(turns(answered[7]))[-1] == Message("assistant", "")
    assert "gave no answer" in answered[2]

    kept = chatting.session(last)
    assert kept.columns[2].turns[-1].failed
    assert "gave no answer" in as_markdown(kept)
    reopened = columns_of(kept)[2].value
    assert messages_of(turns(reopened_as_dicts(reopened)))[-1] == Message("assistant", "")
    assert not kept.columns[0].turns[-1].failed


def reopened_as_dicts(value: Any) -> list[dict]:
    return [item if isinstance(item, dict) else item.model_dump() for item in value]
