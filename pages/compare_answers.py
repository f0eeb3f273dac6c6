"""The columns as the answers grow: what stands in each, and the line under them.

Knows nothing of buttons; every text of a model or a person is escaped here or left to the
chatbot's own sanitised Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from lora_engine.compare.integrity import integrity
from lora_engine.compare.model import ColumnProgress, Progress
from lora_engine.compare.together import SERVER_COLUMN, answer_together
from lora_engine.engine import Engine
from pages import compare_detail, layout
from pages.compare_talk import COLUMNS, Said, Turn, turn

NEARLY_FULL = 0.8  # share of the context at which the page warns
ENDINGS = {
    "token limit": ", cut at the token limit",
    "context full": ", the context is full",
    "stopped": ", stopped",
}


@dataclass(frozen=True)
class Step:
    """What the page shows at one moment; a column that stays as it is holds gr.skip().

    fingerprint: the base's, once it is loaded.
    """

    status: str
    columns: list[Any]
    fingerprint: str = ""

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
    stopped: Callable[[], bool],
    only: str | None = None,
) -> Iterator[Step]:
    """Answer the last question of every history, or of the column `only`, step by step.

    The last step carries the proof of which column is what, unless the person stopped.
    """
    shown = [name for name in said.names if only in (None, name)]
    server = said.server if SERVER_COLUMN in shown else None
    yield Step("Loading the model…", _begun(engine, said, asking, shown))
    model = engine.comparison(said.base, said.chosen)
    requests = [one for one in said.requests(asking) if one.name in shown]
    warnings = layout.notes_html(model.warnings())
    limit, fingerprint = model.shared.context_length, model.shared.fingerprint
    steps = (
        model.answer_all(requests, said.sampling, stopped)
        if server is None
        else answer_together(
            model, requests, server, said.server_messages(asking), said.sampling, stopped
        )
    )
    for progress in steps:
        texts = {name: column.text for name, column in progress.columns.items()}
        status = status_html(engine, said, progress, limit) + warnings
        yield Step(status, _columns(said, asking, texts), fingerprint)
    if stopped():
        return
    proof = integrity(model, requests[0].messages)
    badge = compare_detail.badge(proof, lambda name: said.title(engine, name))
    yield Step(status + badge, _columns(said, asking, texts), fingerprint)


def status_html(engine: Engine, said: Said, progress: Progress, limit: int | None) -> str:
    """One line a column: tokens, speed, why it ended; and a word where the context runs out."""
    lines, fullest = [], 0.0
    for name, column in progress.columns.items():
        heading = escape(said.heading(engine, name))
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


def _begun(
    engine: Engine, said: Said, asking: Sequence[list[Turn]], shown: Sequence[str]
) -> list[Any]:
    """Every chatbot before its answer: the question, and a heading that says who answers it."""
    columns: list[Any] = [gr.skip()] * COLUMNS
    for index, name in enumerate(said.names):
        if name in shown:
            columns[index] = gr.Chatbot(asking[index], label=said.heading(engine, name))
    return columns


def _columns(said: Said, asking: Sequence[list[Turn]], texts: dict[str, str]) -> list[Any]:
    """Every chatbot's value: its history and the answer so far."""
    columns: list[Any] = [gr.skip()] * COLUMNS
    for index, name in enumerate(said.names):
        if name in texts:
            columns[index] = [*asking[index], turn("assistant", texts[name])]
    return columns


def _column_status(column: ColumnProgress) -> str:
    words = f"{column.tokens} tokens"
    if column.tokens_per_s:
        words += f", {layout.number(column.tokens_per_s)} a second"
    if column.first_token_s is not None:
        words += f", the first after {layout.duration(column.first_token_s)}"
    if column.problem is not None:
        words += f". {escape(column.problem)}"
    return words + ENDINGS.get(column.finished or "", "")
