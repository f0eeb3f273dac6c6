"""A comparison as it is saved: made from the page, put back into it, linked and exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import gradio as gr

from lora_engine.compare.generate import BASE_COLUMN, SERVER_COLUMN
from lora_engine.compare.prompts import Mode
from lora_engine.compare.sessions import (
    Session,
    SessionColumn,
    SessionMessage,
    SessionRevision,
    SessionServer,
)
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages import ADAPTERS, COMPARE, SPECTRUM
from pages.compare import routes
from pages.compare.answers import ColumnFacts
from pages.compare.column_warnings import mismatch_badges
from pages.compare.conversation import (
    Conversation,
    Histories,
    History,
    chat_message,
    failed_message,
    is_failed,
)
from pages.compare.conversation_fields import (
    ConversationFields,
    ShownSettings,
    column_update,
)
from pages.shared import layout
from pages.shared.wiring import Update

DISCONNECTED = translatable(
    "{server} is not connected: its key is not kept. Give it again under “Another server”, and "
    "click “Add the column”; or remove the column there."
)


def make_session(conversation: Conversation, facts: ColumnFacts, histories: Histories) -> Session:
    """The conversation with these messages, for saving."""
    server = conversation.server
    return Session(
        server=server and SessionServer(url=server.url, model=server.model),
        base=conversation.base,
        base_fingerprint=facts.base_fingerprint,
        mode=facts.mode,
        system=conversation.system,
        memory=conversation.memory,
        sampling=conversation.sampling,
        columns=tuple(
            _saved_column(conversation, facts, name, histories[name])
            for name in conversation.columns
        ),
    )


def _saved_column(
    conversation: Conversation, facts: ColumnFacts, name: str, history: History
) -> SessionColumn:
    settings = conversation.settings_of(name)
    return SessionColumn(
        name=name,
        title=facts.titles[name],
        strength=settings.strength,
        layers_off=tuple(sorted(settings.layers_off)),
        template_mismatch=facts.mismatches.get(name, ""),
        turns=tuple(
            SessionMessage(role=item["role"], content=item["content"], failed=is_failed(item))
            for item in history
        ),
    )


def links_html(saved: SessionRevision | None, before: SessionRevision | None = None) -> str:
    """The address of the saved comparison and its two exports; nothing without one.

    before: what it continues. Another tab may have continued that too; then both are linked.
    """
    if saved is None:
        return ""
    address = escape(layout.link(COMPARE, session=saved.id))
    exports = " ".join(
        f'<a href="{escape(routes.export_address(saved.id, ending))}" download>{words}</a>'
        for ending, words in (("md", "Markdown"), ("json", "JSON"))
    )
    own = (
        f'<p class="rs-kept-line"><strong>{tr("Kept")}</strong> '
        f'<a href="{address}">{tr("link to it")}</a> {exports}</p>'
    )
    if before is None or before.id == saved.id:
        return own
    other = escape(layout.link(COMPARE, session=before.id))
    words = tr(
        "Another tab went on with this comparison meanwhile. Both are kept: this one under a link "
        "of its own, and the other tab's."
    )
    return (
        f'<p class="rs-note" role="status">{escape(words)} '
        f'<a href="{other}">{tr("Open the other one")}</a></p>{own}'
    )


def next_steps_html(adapters: Sequence[str], titles: Mapping[str, str]) -> str:
    """A line for each adapter that answered, to what can be done with it."""
    return "".join(
        f'<p class="rs-kept-line"><strong>{escape(titles[name])}</strong> '
        + " ".join(
            f'<a href="{escape(address)}">{words}</a>'
            for address, words in (
                (layout.link(SPECTRUM, adapter=name), tr("Spectrum")),
                (layout.link(ADAPTERS, adapter=name, tab="resize"), tr("Resize")),
                (layout.link(ADAPTERS, adapter=name, tab="take-away"), tr("Export")),
            )
        )
        + "</p>"
        for name in adapters
    )


def adapters_of(session: Session) -> list[SessionColumn]:
    """The columns of adapters, without the base and another server."""
    return [one for one in session.columns if one.name not in (BASE_COLUMN, SERVER_COLUMN)]


def show_session(engine: Engine, fields: ConversationFields, session: Session) -> Update:
    """The settings and the columns as they were when the comparison was saved."""
    sampling = session.sampling.model_dump()
    columns = adapters_of(session)
    fixed = engine.compare.fixed([one.name for one in columns])
    adapters = [ShownSettings(one.title, one.use, fixed.get(one.name, "")) for one in columns]
    return {
        fields.system: session.system,
        fields.memory: session.memory,
        **{field: sampling[name] for name, field in fields.sampling.items()},
        **fields.show_settings(adapters),
        **fields.show_columns([_reopened(one, session.mode) for one in session.columns]),
        fields.status: _status_html(session),
    }


def _reopened(column: SessionColumn, mode: Mode) -> gr.Chatbot:
    messages = [
        failed_message("", item.content) if item.failed else chat_message(item.role, item.content)
        for item in column.turns
    ]
    is_server = column.name == SERVER_COLUMN
    label = (
        tr("{server}: not connected", server=column.title)
        if is_server
        else column.use.label(column.title)
    )
    return column_update(messages, label, bool(column.template_mismatch), mode)


def _status_html(session: Session) -> str:
    """What stands under the columns: a server to connect again, templates that do not fit."""
    servers = [one.title for one in session.columns if one.name == SERVER_COLUMN]
    lost = [tr(DISCONNECTED, server=title) for title in servers]
    return layout.notes_html(lost) + mismatch_badges(
        {one.title: one.template_mismatch for one in session.columns if one.template_mismatch}
    )
