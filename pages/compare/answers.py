"""The columns as the answers grow: what stands in each, and the status under them.

Knows no button and no component; every text of a model or a person is escaped here or left to the
chatbot's own sanitised Markdown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate import (
    SERVER_COLUMN,
    AnswerProgress,
    ColumnProgress,
    ComparisonModel,
    answer_local_and_remote,
)
from lora_engine.compare.prompts import Mode, language_notes
from lora_engine.compare.scoring import prove_columns
from lora_engine.engine import Engine
from lora_engine.language import tr, tr_count, translatable
from pages.compare.column_warnings import mismatch_badges, proof_badge
from pages.compare.conversation import (
    ChatMessage,
    Conversation,
    Histories,
    History,
    chat_message,
    failed_message,
)
from pages.compare.conversation_fields import column_update
from pages.shared import layout

NEARLY_FULL = 0.8  # share of the context at which the page warns
ENDINGS = {
    "token limit": translatable("cut at the token limit"),
    "context full": translatable("the context is full"),
    "stopped": translatable("stopped"),
}


@dataclass(frozen=True)
class ColumnFacts:
    """What is known of the columns, read once: an adapter may be deleted while it answers.

    titles: of every column. mismatches: as `ComparisonModel.template_mismatches` gives them. mode:
    how all of them are asked.
    """

    base_fingerprint: str
    titles: dict[str, str]
    mismatches: dict[str, str]
    notes: list[str]
    mode: Mode = "chat"

    @classmethod
    def of(cls, engine: Engine, conversation: Conversation, model: ComparisonModel) -> ColumnFacts:
        titles = {name: conversation.title(engine, name) for name in conversation.columns}
        mismatches, mode = model.template_mismatches(), model.form.mode
        return cls(model.shared.fingerprint, titles, mismatches, model.notes(), mode)

    def warnings_html(self) -> str:
        wrong = {self.titles[name]: words for name, words in self.mismatches.items()}
        return layout.notes_html(self.notes) + mismatch_badges(wrong)


@dataclass(frozen=True)
class AnswerFrame:
    """What the page shows at one moment of answering.

    columns: new messages, or an update of the whole chatbot, by the column's name. status: None
    leaves it as it is. facts: there once there is something of an answer.
    """

    columns: Mapping[str, Any]
    status: str | None = None
    facts: ColumnFacts | None = None

    def histories(self, before: Histories) -> Histories:
        """The messages of every column, `before` where they stay as they were."""
        new = {name: value for name, value in self.columns.items() if isinstance(value, list)}
        return {**before, **new}


def answer_columns(
    engine: Engine,
    conversation: Conversation,
    histories: Histories,
    stop: StopSignal,
    only: str | None = None,
) -> Iterator[AnswerFrame]:
    """Answer the last question of every history, or of the column `only`, frame by frame.

    The last frame carries the proof of which column is what, unless the person stopped.
    """
    asked = {name: list(history) for name, history in histories.items() if only in (None, name)}
    yield AnswerFrame(asked, f'<p class="rs-noted">{tr("Loading the model…")}</p>')
    model = conversation.model(engine)
    facts = ColumnFacts.of(engine, conversation, model)
    questions = [one.messages[-1].content for one in conversation.requests(histories)]
    unread = language_notes(model.shared.base, questions)
    facts = replace(facts, notes=[*facts.notes, *unread])
    yield AnswerFrame(
        {
            name: column_update(
                history,
                conversation.settings_of(name).label(facts.titles[name]),
                name in facts.mismatches,
                facts.mode,
            )
            for name, history in asked.items()
        }
    )
    frame = AnswerFrame({}, "", facts)
    for progress in _progress(model, conversation, histories, stop, asked):
        status = status_html(conversation, facts, progress, model.shared.context_length)
        frame = AnswerFrame(_answered(asked, progress), status + facts.warnings_html(), facts)
        yield frame
    if stop.is_set():
        return
    proof = prove_columns(model, conversation.requests(histories)[0].messages)
    badge = proof_badge(proof, facts.titles.__getitem__)
    yield AnswerFrame(frame.columns, f"{frame.status}{badge}", facts)


def _answered(asked: Mapping[str, History], progress: AnswerProgress) -> dict[str, Any]:
    """Every column's messages with its answer so far."""
    return {name: [*asked[name], _message(one)] for name, one in progress.columns.items()}


def _message(column: ColumnProgress) -> ChatMessage:
    if column.problem is not None:
        return failed_message(column.text, column.problem)
    return chat_message("assistant", column.text)


def _progress(
    model: ComparisonModel,
    conversation: Conversation,
    histories: Histories,
    stop: StopSignal,
    shown: Collection[str],
) -> Iterator[AnswerProgress]:
    """What the columns in `shown` answer, the other server's among them."""
    requests = [one for one in conversation.requests(histories) if one.name in shown]
    server = conversation.server
    if server is None or SERVER_COLUMN not in shown:
        return model.answer_all(requests, conversation.sampling, stop)
    messages = conversation.server_messages(histories)
    return answer_local_and_remote(model, requests, server, messages, conversation.sampling, stop)


def status_html(
    conversation: Conversation, facts: ColumnFacts, progress: AnswerProgress, limit: int | None
) -> str:
    """One line a column: tokens, speed, why it ended; and a warning where the context runs out."""
    lines, fullest = [], 0.0
    for name, column in progress.columns.items():
        label = escape(conversation.settings_of(name).label(facts.titles[name]))
        lines.append(f"<li><strong>{label}</strong> {_column_status(column)}</li>")
        if limit and name != SERVER_COLUMN:
            fullest = max(fullest, (column.prompt_tokens + column.tokens) / limit)
    warning = ""
    if fullest >= NEARLY_FULL:
        warning = layout.notes_html(
            [
                tr(
                    "{share} of the {limit} tokens that this model reads are used: the next "
                    "question may not fit. Clear begins anew.",
                    share=f"{fullest:.0%}",
                    limit=f"{limit:,}",
                )
            ]
        )
    return f'<ul class="rs-status">{"".join(lines)}</ul>{warning}'


def _column_status(column: ColumnProgress) -> str:
    parts = [tr_count("{count} token", "{count} tokens", column.tokens)]
    if column.tokens_per_s:
        parts.append(tr("{speed} a second", speed=layout.number(column.tokens_per_s)))
    if column.first_token_s is not None:
        parts.append(tr("the first after {time}", time=layout.duration(column.first_token_s)))
    if column.finished in ENDINGS:
        parts.append(tr(ENDINGS[column.finished]))
    if column.problem is not None:
        parts.append(column.problem)
    return escape(tr(", ").join(parts))
