"""What the compare page opens on: the adapters of its address, a kept comparison, or the newest."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_choice, compare_keep, layout
from pages.compare_chat import SUGGESTIONS, Chat
from pages.compare_talk import Talk
from pages.wiring import wire


def connect(engine: Engine, blocks: gr.Blocks, talk: Talk, chat: Chat, note: gr.HTML) -> None:
    """Fill the page as it opens; follow another choice of adapters."""

    def open_page(request: gr.Request) -> Iterator[tuple]:
        session_id = layout.state_of(request, "session")
        try:
            yield (
                kept(session_id)
                if session_id
                else fresh(
                    compare_choice.wanted_adapters(engine, request),
                    layout.state_of(request, "base"),
                )
            )
        except EngineError:
            # A wrong address is said, and the page can be used all the same.
            yield fresh(compare_choice.newest_adapter(engine), "")
            raise

    def fresh(chosen: list[str], base: str) -> tuple:
        base = base or compare_choice.base_of(engine, chosen)
        settings = [gr.skip()] * (2 + len(talk.sampling))
        uses = compare_choice.uses_as_trained(engine, chosen)
        columns = compare_choice.titled(engine, chosen, None)
        return (*asked(chosen, base), *settings, *uses, "", "", "", *columns)

    def kept(session_id: str) -> tuple:
        session = compare_keep.store_of(engine).load(session_id)
        chosen = [one.name for one in compare_keep.adapters_of(session)]
        for name in chosen:
            engine.adapter(name)  # said now, not at the next question, where one is gone
        settings = compare_keep.settings_of(session)
        uses = compare_keep.uses_of(session)
        status = compare_keep.status_of(session)
        links = compare_keep.links(session_id)
        columns = compare_keep.columns_of(session)
        head = asked(chosen, session.base)
        return (*head, *settings, *uses, status, session_id, links, *columns)

    def asked(chosen: list[str], base: str) -> tuple:
        return (
            gr.Dropdown(choices=compare_choice.adapter_choices(engine, chosen), value=chosen),
            gr.Dropdown(choices=engine.base_model_names(), value=base),
            compare_choice.note(engine),
            gr.Textbox(interactive=True),
            gr.Button(interactive=True),
            *compare_choice.suggestion_buttons(engine, chosen, SUGGESTIONS),
        )

    def choose(chosen: list[str], server: str) -> tuple:
        other = talk.servers.get(server) if server else None
        return (
            compare_choice.base_of(engine, chosen),
            *compare_choice.suggestion_buttons(engine, chosen, SUGGESTIONS),
            *compare_choice.uses_as_trained(engine, chosen),
            "",
            "",
            "",
            *compare_choice.titled(engine, chosen, other),
        )

    adapters, base, problem = talk.adapters, talk.base, chat.problem
    follows = [*talk.uses, chat.status, talk.session, chat.kept, *talk.columns]
    settings = [talk.system, talk.memory, *talk.sampling]
    opened = [adapters, base, note, chat.prompt, chat.send, *chat.suggestions, *settings]
    wire([blocks.load], open_page, [], [*opened, *follows], problem=problem)
    changed = [base, *chat.suggestions, *follows]
    wire([adapters.input], choose, [adapters, talk.server], changed, problem=problem)
    _remember(adapters.input, adapters, "adapter")
    _remember(talk.session.change, talk.session, "session")


def _remember(event, component, name: str) -> None:
    """Write a component's value into the page's address."""
    event(fn=None, inputs=[component], js=layout.remember_js(name), api_visibility="private")
