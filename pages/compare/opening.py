"""What the compare page opens on: a saved comparison, the address's adapters, or the newest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from lora_engine.compare.prompts import AskAs
from lora_engine.compare.sessions import SessionRevision
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import adapter_choice, asked_form, saved_session, tools
from pages.compare.adapter_choice import Asked
from pages.compare.chat import ChatFields
from pages.compare.conversation_fields import ConversationFields
from pages.compare.remote_server import ServerFields
from pages.shared import layout
from pages.shared.wiring import Update, wire

ADDRESS_OF_SESSION = (
    "(saved) => ({remember})(saved ? saved.split('.')[0] : '')"  # the revision is this tab's alone
)


@dataclass(frozen=True)
class Opening:
    """Fills the page as it opens, and anew for another choice of adapters."""

    engine: Engine
    fields: ConversationFields
    chat: ChatFields
    server: ServerFields

    def open_page(self, request: gr.Request) -> Iterator[Update]:
        session_id = layout.state_of(request, "session")
        try:
            if session_id:
                yield self._saved(session_id)
            else:
                named = adapter_choice.adapters_in_address(self.engine, request)
                yield self._fresh(named, layout.state_of(request, "base"))
        except EngineError:
            # The page names the wrong address, and can be used all the same.
            yield self._fresh(adapter_choice.newest_adapter(self.engine))
            raise

    def open_tab(self, request: gr.Request) -> Update:
        """The tab that the address names; the answers come first by themselves."""
        named = tools.tab_in_address(request)
        return {} if named == tools.ANSWERS else tools.shown(self.fields.tabs, named)

    def choose_adapters(self, adapters: list[str], ask_as: AskAs, server: str) -> Update:
        """Other adapters: the columns begin anew."""
        engine, fields = self.engine, self.fields
        connected = fields.servers.find(server)
        base = adapter_choice.base_of(engine, adapters)
        who = Asked(base, adapters, ask_as, connected)
        return {
            fields.base: base,
            fields.server: server if connected else "",
            **adapter_choice.show_suggestions(engine, self.chat.suggestions, base, adapters),
            **adapter_choice.show_as_trained(engine, fields, adapters),
            **adapter_choice.open_answered(engine, fields, who),
            **self._form(who),
        }

    def choose_base(self, base: str, adapters: list[str], ask_as: AskAs) -> Update:
        """Another base by hand: whether these adapters were made for it, and how it is asked."""
        return {
            self.fields.status: adapter_choice.mismatch_html(self.engine, base, adapters, ask_as),
            **self._form(Asked(base, adapters, ask_as)),
        }

    def _fresh(self, adapters: list[str], base: str = "") -> Update:
        base = base or adapter_choice.base_of(self.engine, adapters)
        who = Asked(base, adapters)
        return {
            **self._asked(who),
            **adapter_choice.show_as_trained(self.engine, self.fields, adapters),
            **adapter_choice.open_answered(self.engine, self.fields, who),
        }

    def _saved(self, session_id: str) -> Update:
        session = self.engine.compare.sessions.load(session_id)
        adapters = [one.name for one in saved_session.adapters_of(session)]
        for name in adapters:
            self.engine.adapters.get(name)  # raises now, and not at the next question
        revision = SessionRevision(session_id, session.revision)
        return {
            **self._asked(Asked(session.base, adapters, session.mode)),
            **saved_session.show_session(self.engine, self.fields, session),
            **self.server.reopened(self.fields, session.server),
            self.fields.session: str(revision),
            self.fields.links: saved_session.links_html(revision),
        }

    def _asked(self, who: Asked) -> Update:
        """Who is asked, and how; question and Ask become live."""
        engine, fields, adapters = self.engine, self.fields, list(who.adapters)
        choices = adapter_choice.adapter_choices(engine, adapters)
        return {
            fields.adapters: gr.Dropdown(choices=choices, value=adapters),
            fields.base: gr.Dropdown(choices=engine.base_models.names(), value=who.base),
            **self._form(who, opens=True),
            **adapter_choice.show_suggestions(engine, self.chat.suggestions, who.base, adapters),
        }

    def _form(self, who: Asked, opens: bool = False) -> Update:
        who_and_how = who.base, who.adapters, who.ask_as
        return asked_form.show_form(self.engine, self.fields, self.chat, *who_and_how, opens)


def connect(opening: Opening, blocks: gr.Blocks) -> None:
    """Fill the page as it opens; follow another choice of adapters; keep the address right."""
    fields, chat, server = opening.fields, opening.chat, opening.server
    chosen = [fields.base, fields.server, *chat.suggestions, *fields.settings_components]
    form = asked_form.form_parts(fields, chat)
    whole: list[Block] = [
        *chosen,
        *fields.answers,
        *form,
        *[fields.adapters, fields.system, fields.memory],
        *fields.sampling.values(),
        *[server.url, server.model],
    ]
    problem = chat.problem
    wire([blocks.load], opening.open_page, [], whole, problem=problem)
    wire([blocks.load], opening.open_tab, [], [fields.tabs], problem=problem)
    wire([fields.adapters.input], opening.choose_adapters,
         [fields.adapters, fields.ask_as, fields.server],
         [*chosen, *fields.answers, *form], problem=problem)  # fmt: skip
    wire([fields.base.input], opening.choose_base,
         [fields.base, fields.adapters, fields.ask_as],
         [fields.status, *form], problem=problem)  # fmt: skip
    asked_form.connect(opening.engine, fields, chat)
    _remember(fields.adapters.input, fields.adapters, layout.remember_js("adapter"))
    remember = ADDRESS_OF_SESSION.format(remember=layout.remember_js("session"))
    _remember(fields.session.change, fields.session, remember)


def _remember(event, component: Component, js: str) -> None:
    """Write a component's value into the page's address."""
    event(fn=None, inputs=[component], js=js, api_visibility="private")
