"""The comparison that is kept: made from the page, put back into it, linked and exported."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from lora_engine.compare.model import BASE_COLUMN, ComparisonModel
from lora_engine.compare.sessions import Session, SessionColumn, SessionStore, SessionTurn
from lora_engine.compare.together import SERVER_COLUMN
from lora_engine.engine import Engine
from pages import (
    COMPARE,
    compare_choice,
    compare_detail,
    compare_routes,
    compare_talk,
    layout,
)
from pages.compare_talk import Said, Turn, turn


def store_of(engine: Engine) -> SessionStore:
    return SessionStore(engine.settings.data_dir / "sessions")


def session_of(
    engine: Engine, said: Said, model: ComparisonModel, histories: Sequence[Sequence[Turn]]
) -> Session:
    """What the page holds, for keeping."""
    mismatches = model.template_mismatches()
    columns = tuple(
        SessionColumn(
            name=name,
            title=said.title(engine, name),
            strength=said.use_of(name).strength,
            layers_off=tuple(sorted(said.use_of(name).layers_off)),
            template_mismatch=mismatches.get(name, ""),
            turns=tuple(SessionTurn(**item) for item in histories[index]),
        )
        for index, name in enumerate(said.names)
    )
    return Session(
        base=said.base, base_fingerprint=model.shared.fingerprint, system=said.system,
        memory=said.memory, sampling=said.sampling, columns=columns,
    )  # fmt: skip


def links(session_id: str) -> str:
    """The kept comparison's address and its two exports; nothing without one."""
    if not session_id:
        return ""
    address = escape(layout.link(COMPARE, session=session_id))
    exports = " · ".join(
        f'<a href="{escape(compare_routes.export_address(session_id, ending))}" download>'
        f"{words}</a>"
        for ending, words in (("md", "Markdown"), ("json", "JSON"))
    )
    return f'<p class="rs-kept">Kept: <a href="{address}">link to it</a> · {exports}</p>'


def adapters_of(session: Session) -> list[SessionColumn]:
    """The columns of adapters, without the base and another server."""
    return [one for one in session.columns if one.name not in (BASE_COLUMN, SERVER_COLUMN)]


def settings_of(session: Session) -> list:
    """The values of system prompt, memory and sampling, in the order of `Talk`."""
    return [session.system, session.memory, *session.sampling.model_dump().values()]


def uses_of(session: Session) -> list:
    """Every adapter's strength and layers as they were, in the order of `Talk.uses`."""
    return compare_choice.use_fields([(one.title, one.use) for one in adapters_of(session)])


def columns_of(session: Session) -> list[gr.Chatbot]:
    """Every column with what was said in it; the rest hidden."""
    return compare_talk.columns_as(
        [
            compare_talk.column_as(
                [turn(item.role, item.content) for item in one.turns],
                one.use.named(one.title),
                bool(one.template_mismatch),
            )
            for one in session.columns
        ]
    )


def status_of(session: Session) -> str:
    """What is wrong with the templates, to stand under the columns."""
    return compare_detail.mismatches(
        {one.title: one.template_mismatch for one in session.columns if one.template_mismatch}
    )
