"""The columns as the answers grow: what stands in each, and the line under them.

Knows nothing of buttons; every text of a model or a person is escaped here or left to the
chatbot's own sanitised Markdown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate.answer_progress import AnswerProgress, ColumnProgress
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.local_and_remote import SERVER_COLUMN, answer_local_and_remote
from lora_engine.compare.scoring.column_proof import prove_columns
from lora_engine.engine import Engine
from pages.compare import token_by_token
from pages.compare.conversation import COLUMNS, Said, Turn, column_as, failed_turn, turn
from pages.shared import layout

NEARLY_FULL = 0.8  # share of the context at which the page warns
ENDINGS = {
    "token limit": ", cut at the token limit",
    "context full": ", the context is full",
    "stopped": ", stopped",
}


@dataclass(frozen=True)
class Answering:
    """Who answers, read once: it stays true where an adapter is deleted meanwhile.

    titles: of every column. mismatches: as `ComparisonModel.template_mismatches` says them.
    """

    fingerprint: str
    titles: dict[str, str]
    mismatches: dict[str, str]
    notes: list[str]

    @classmethod
    def of(cls, engine: Engine, said: Said, model: ComparisonModel) -> Answering:
        titles = {name: said.title(engine, name) for name in said.names}
        notes, mismatches = model.notes(), model.template_mismatches()
        return cls(model.shared.fingerprint, titles, mismatches, notes)

    @property
    def warnings(self) -> str:
        wrong = {self.titles[name]: words for name, words in self.mismatches.items()}
        return layout.notes_html(self.notes) + token_by_token.mismatches(wrong)


@dataclass(frozen=True)
class Step:
    """What the page shows at one moment; a column that stays as it is holds gr.skip().

    answering: who answers, once there is something of an answer.
    """

    status: str
    columns: list[Any]
    answering: Answering | None = None

    def histories(self, before: Sequence[list[Turn]]) -> list[list[Turn]]:
        """What every column holds, `before` where it stays as it was."""
        return [
            new if isinstance(new, list) else old
            for new, old in zip(self.columns, before, strict=True)
        ]


def answer_columns(
    engine: Engine,
    said: Said,
    asking: Sequence[list[Turn]],
    stopped: StopSignal,
    only: str | None = None,
) -> Iterator[Step]:
    """Answer the last question of every history, or of the column `only`, step by step.

    The last step carries the proof of which column is what, unless the person stopped.
    """
    asked = {
        name: history
        for name, history in zip(said.names, asking, strict=False)
        if only in (None, name)
    }
    yield Step("Loading the model…", _columns(said, asked))
    model = engine.compare.model(said.base, said.chosen)
    who = Answering.of(engine, said, model)
    headed = {
        name: column_as(history, said.headed(name, who.titles[name]), name in who.mismatches)
        for name, history in asked.items()
    }
    yield Step(gr.skip(), _columns(said, headed))
    for progress in _progress(model, said, asking, stopped, asked):
        answered = {name: [*asked[name], _said_by(one)] for name, one in progress.columns.items()}
        status = status_html(said, who.titles, progress, model.shared.context_length)
        yield Step(status + who.warnings, _columns(said, answered), who)
    if stopped.is_set():
        return
    proof = prove_columns(model, said.requests(asking)[0].messages)
    badge = token_by_token.badge(proof, who.titles.__getitem__)
    yield Step(status + who.warnings + badge, _columns(said, answered), who)


def _said_by(column: ColumnProgress) -> Turn:
    if column.problem is not None:
        return failed_turn(column.text, column.problem)
    return turn("assistant", column.text)


def _progress(
    model: ComparisonModel,
    said: Said,
    asking: Sequence[list[Turn]],
    stopped: StopSignal,
    shown: Collection[str],
) -> Iterator[AnswerProgress]:
    """What the columns in `shown` answer, the other server's among them."""
    requests = [one for one in said.requests(asking) if one.name in shown]
    if SERVER_COLUMN not in shown:
        return model.answer_all(requests, said.sampling, stopped)
    messages = said.server_messages(asking)
    return answer_local_and_remote(model, requests, said.server, messages, said.sampling, stopped)


def status_html(
    said: Said, titles: Mapping[str, str], progress: AnswerProgress, limit: int | None
) -> str:
    """One line a column: tokens, speed, why it ended; and a word where the context runs out."""
    lines, fullest = [], 0.0
    for name, column in progress.columns.items():
        heading = escape(said.headed(name, titles[name]))
        lines.append(f"<li><strong>{heading}</strong> {_column_status(column)}</li>")
        if limit and name != SERVER_COLUMN:
            fullest = max(fullest, (column.prompt_tokens + column.tokens) / limit)
    warning = ""
    if fullest >= NEARLY_FULL:
        warning = layout.notes_html(
            [
                f"{fullest:.0%} of the {limit:,} tokens that this model reads are used: "
                "the next question may not fit. Clear begins anew."
            ]
        )
    return f'<ul class="rs-status">{"".join(lines)}</ul>{warning}'


def _columns(said: Said, values: Mapping[str, Any]) -> list[Any]:
    """The value of each chatbot by its column's name; one without stays as it is."""
    names = [*said.names, *[None] * (COLUMNS - len(said.names))]
    return [values.get(name, gr.skip()) for name in names]


def _column_status(column: ColumnProgress) -> str:
    words = f"{column.tokens} tokens"
    if column.tokens_per_s:
        words += f", {layout.number(column.tokens_per_s)} a second"
    if column.first_token_s is not None:
        words += f", the first after {layout.duration(column.first_token_s)}"
    if column.problem is not None:
        words += f". {escape(column.problem)}"
    return words + ENDINGS.get(column.finished or "", "")
