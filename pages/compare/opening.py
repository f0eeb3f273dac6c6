"""What the compare page opens on: the adapters of its address, a kept comparison, or the newest."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
from gradio.components import Component

from lora_engine.compare.sessions.session_store import SessionRevision
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import adapter_choice, kept_comparison
from pages.compare.chat import SUGGESTIONS, Chat
from pages.compare.conversation import Talk
from pages.compare.remote_server import ServerFields
from pages.shared import layout
from pages.shared.wiring import wire

ADDRESS_OF_SESSION = (
    "(kept) => ({remember})(kept ? kept.split('.')[0] : '')"  # the revision is this tab's alone
)


class _Opening:
    """What the page is filled with, in the order of `whole` or of `followed`."""

    def __init__(
        self, engine: Engine, talk: Talk, chat: Chat, server: ServerFields, note: gr.HTML
    ) -> None:
        self.engine = engine
        self.talk = talk
        said = [chat.status, talk.session, chat.kept, *talk.columns]
        asked = [talk.adapters, talk.base, note, chat.prompt, chat.send, *chat.suggestions]
        settings = [talk.system, talk.memory, *talk.sampling]
        self.whole: list[Component] = [*asked, *settings, *server.opened, *talk.uses, *said]
        self.followed: list[Component] = [
            talk.base, *chat.suggestions, talk.server, *talk.uses, *said,
        ]  # fmt: skip
        self._server = server

    def open_page(self, request: gr.Request) -> Iterator[tuple]:
        session_id = layout.state_of(request, "session")
        try:
            if session_id:
                yield self._kept(session_id)
            else:
                wanted = adapter_choice.wanted_adapters(self.engine, request)
                yield self._fresh(wanted, layout.state_of(request, "base"))
        except EngineError:
            # A wrong address is said, and the page can be used all the same.
            yield self._fresh(adapter_choice.newest_adapter(self.engine), "")
            raise

    def choose(self, chosen: list[str], server: str) -> tuple:
        """Other adapters: the columns begin anew."""
        engine, other = self.engine, self.talk.servers.find(server)
        base = adapter_choice.base_of(engine, chosen)
        status, columns = adapter_choice.begun(engine, base, chosen, other)
        return (
            base,
            *adapter_choice.suggestion_buttons(engine, chosen, SUGGESTIONS),
            server if other else "",
            *adapter_choice.uses_as_trained(engine, chosen),
            *(status, "", ""),
            *columns,
        )

    def choose_base(self, base: str, chosen: list[str]) -> str:
        """Another base by hand: whether these adapters were made for it."""
        return adapter_choice.warned(self.engine, base, chosen)

    def _fresh(self, chosen: list[str], base: str) -> tuple:
        engine = self.engine
        base = base or adapter_choice.base_of(engine, chosen)
        status, columns = adapter_choice.begun(engine, base, chosen, None)
        return (
            *self._asked(chosen, base),
            *[gr.skip()] * (2 + len(self.talk.sampling)),
            *[gr.skip()] * len(self._server.opened),
            *adapter_choice.uses_as_trained(engine, chosen),
            *(status, "", ""),
            *columns,
        )

    def _kept(self, session_id: str) -> tuple:
        session = kept_comparison.store_of(self.engine).load(session_id)
        chosen = [one.name for one in kept_comparison.adapters_of(session)]
        for name in chosen:
            self.engine.adapters.get(name)  # said now, not at the next question, where one is gone
        kept = SessionRevision(session_id, session.revision)
        return (
            *self._asked(chosen, session.base),
            *kept_comparison.settings_of(session),
            *self._server.kept(session.server),
            *kept_comparison.uses_of(session),
            kept_comparison.status_of(session),
            *(str(kept), kept_comparison.links(kept)),
            *kept_comparison.columns_of(session),
        )

    def _asked(self, chosen: list[str], base: str) -> tuple:
        engine = self.engine
        return (
            gr.Dropdown(choices=adapter_choice.adapter_choices(engine, chosen), value=chosen),
            gr.Dropdown(choices=engine.base_models.names(), value=base),
            adapter_choice.note(engine),
            gr.Textbox(interactive=True),
            gr.Button(interactive=True),
            *adapter_choice.suggestion_buttons(engine, chosen, SUGGESTIONS),
        )


def connect(
    engine: Engine, blocks: gr.Blocks, talk: Talk, chat: Chat, server: ServerFields, note: gr.HTML
) -> None:
    """Fill the page as it opens; follow another choice of adapters; keep the address right."""
    does = _Opening(engine, talk, chat, server, note)
    wire([blocks.load], does.open_page, [], does.whole, problem=chat.problem)
    wire([talk.adapters.input], does.choose, [talk.adapters, talk.server], does.followed,
         problem=chat.problem)  # fmt: skip
    wire([talk.base.input], does.choose_base, [talk.base, talk.adapters], [chat.status],
         problem=chat.problem)  # fmt: skip
    _remember(talk.adapters.input, talk.adapters, layout.remember_js("adapter"))
    remember = ADDRESS_OF_SESSION.format(remember=layout.remember_js("session"))
    _remember(talk.session.change, talk.session, remember)


def _remember(event, component: Component, js: str) -> None:
    """Write a component's value into the page's address."""
    event(fn=None, inputs=[component], js=js, api_visibility="private")
