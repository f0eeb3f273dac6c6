"""The comparison that is kept: made from the page, put back into it, linked and exported."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from lora_engine.compare.generate.comparison_model import BASE_COLUMN
from lora_engine.compare.generate.local_and_remote import SERVER_COLUMN
from lora_engine.compare.sessions.session import (
    Session,
    SessionColumn,
    SessionMessage,
    SessionServer,
)
from lora_engine.compare.sessions.session_store import SessionRevision, SessionStore
from lora_engine.engine import Engine
from pages import COMPARE
from pages.compare import adapter_choice, conversation, routes, token_by_token
from pages.compare.answers import Answering
from pages.compare.conversation import Said, Turn, failed_turn, is_failed, turn
from pages.shared import layout

DISCONNECTED = (
    "is not connected: its key is not kept. Give it again below, under "
    "“A column from another server”, and click “Add the column”; or remove the column there."
)


def store_of(engine: Engine) -> SessionStore:
    return engine.compare.sessions


def session_of(said: Said, answering: Answering, histories: Sequence[Sequence[Turn]]) -> Session:
    """What the page holds, for keeping."""
    columns = tuple(
        SessionColumn(
            name=name,
            title=answering.titles[name],
            strength=said.use_of(name).strength,
            layers_off=tuple(sorted(said.use_of(name).layers_off)),
            template_mismatch=answering.mismatches.get(name, ""),
            turns=tuple(
                SessionMessage(role=item["role"], content=item["content"], failed=is_failed(item))
                for item in histories[index]
            ),
        )
        for index, name in enumerate(said.names)
    )
    server = said.server and SessionServer(url=said.server.url, model=said.server.model)
    return Session(
        server=server,
        base=said.base, base_fingerprint=answering.fingerprint, system=said.system,
        memory=said.memory, sampling=said.sampling, columns=columns,
    )  # fmt: skip


def links(kept: SessionRevision | None, before: SessionRevision | None = None) -> str:
    """The kept comparison's address and its two exports; nothing without one.

    before: what it goes on from, which another tab may have gone on with meanwhile.
    """
    if kept is None:
        return ""
    address = escape(layout.link(COMPARE, session=kept.id))
    exports = " · ".join(
        f'<a href="{escape(routes.export_address(kept.id, ending))}" download>{words}</a>'
        for ending, words in (("md", "Markdown"), ("json", "JSON"))
    )
    said = f'<p class="rs-kept">Kept: <a href="{address}">link to it</a> · {exports}</p>'
    if before is None or before.id == kept.id:
        return said
    other = escape(layout.link(COMPARE, session=before.id))
    return (
        '<p class="rs-note" role="status">Another tab went on with this comparison meanwhile. Both '
        f'are kept: <a href="{other}">the other tab\'s</a>, and this one under a link of its own.'
        f"</p>{said}"
    )


def adapters_of(session: Session) -> list[SessionColumn]:
    """The columns of adapters, without the base and another server."""
    return [one for one in session.columns if one.name not in (BASE_COLUMN, SERVER_COLUMN)]


def settings_of(session: Session) -> list:
    """The values of system prompt, memory and sampling, in the order of `Talk`."""
    return [session.system, session.memory, *session.sampling.model_dump().values()]


def uses_of(session: Session) -> list:
    """Every adapter's strength and layers as they were, in the order of `Talk.uses`."""
    return adapter_choice.use_fields([(one.title, one.use) for one in adapters_of(session)])


def columns_of(session: Session) -> list[gr.Chatbot]:
    """Every column with what was said in it; the rest hidden."""
    return conversation.columns_as(
        [
            conversation.column_as(
                [
                    failed_turn("", item.content) if item.failed else turn(item.role, item.content)
                    for item in one.turns
                ],
                f"{one.title}: not connected"
                if one.name == SERVER_COLUMN
                else one.use.label(one.title),
                bool(one.template_mismatch),
            )
            for one in session.columns
        ]
    )


def status_of(session: Session) -> str:
    """What stands under the columns: a server to connect again, templates that are wrong."""
    lost = [f"{one.title} {DISCONNECTED}" for one in session.columns if one.name == SERVER_COLUMN]
    return layout.notes_html(lost) + token_by_token.mismatches(
        {one.title: one.template_mismatch for one in session.columns if one.template_mismatch}
    )
