"""The chat: one question to all columns, their answers side by side as they grow."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from lora_engine.compare.integrity import integrity
from lora_engine.compare.model import ColumnProgress, Progress
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_choice, compare_detail, compare_talk, layout
from pages.compare_talk import COLUMNS, Said, Talk, messages_of, turn
from pages.wiring import problem_box, wire

SUGGESTIONS = 3


class Chat:
    """The components under the columns: question, suggestions, buttons, what was measured."""

    def __init__(self) -> None:
        self.status = gr.HTML(elem_id="compare-status")
        self.problem = problem_box()
        with gr.Row(elem_classes="rs-suggestions"):
            self.suggestions = [
                gr.Button(visible=False, size="sm", elem_id=f"suggestion-{index}")
                for index in range(SUGGESTIONS)
            ]
        self.prompt = gr.Textbox(
            value="", label="Your question", placeholder="Ask both the same thing", lines=1,
            max_lines=6, elem_id="prompt", autofocus=True, interactive=False,
        )  # fmt: skip
        with gr.Row(elem_classes="rs-actions"):
            # Nothing can be asked before the page knows whom: its opening makes these two live.
            self.send = gr.Button("Ask", variant="primary", elem_id="send", interactive=False)
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop")
            self.clear = gr.Button("Clear", elem_id="clear")


def connect(engine: Engine, talk: Talk, chat: Chat) -> None:
    """Bind the buttons."""

    def ask(text: str, *values: Any) -> Iterator[tuple]:
        yield from _answers(engine, text, talk.read(values))

    def start_over(chosen: list[str]) -> tuple:
        return ("", *compare_choice.titled(engine, chosen))

    shown = [chat.prompt, chat.status, *talk.columns]
    options = {"problem": chat.problem, "concurrency_limit": 4}
    asked = [chat.prompt, *talk.inputs]
    events = [wire([chat.send.click, chat.prompt.submit], ask, asked, shown, **options)]
    for button in chat.suggestions:
        events.append(wire([button.click], ask, [button, *talk.inputs], shown, **options))
    chat.stop.click(fn=None, cancels=events, api_visibility="private")
    emptied = [chat.status, *talk.columns]
    wire([chat.clear.click], start_over, [talk.adapters], emptied, problem=chat.problem)


def _answers(engine: Engine, text: str, said: Said) -> Iterator[tuple]:
    """The page as the answers grow: the emptied prompt, the status, every column."""
    if not text.strip():
        raise EngineError("The question is empty.", "Write one, or click one of the examples.")
    asking = [[*history, turn("user", text)] for history in said.histories]
    hidden = [gr.skip()] * (COLUMNS - len(said.names))
    yield ("", "Loading the model…", *asking[: len(said.names)], *hidden)

    model = engine.comparison(said.base, said.chosen)
    conversations = {
        name: [*said.opening, *messages_of(history)]
        for name, history in zip(said.names, asking, strict=False)
    }
    warnings = "".join(f"<p>{escape(warning)}</p>" for warning in model.warnings())
    for progress in model.answer(conversations, said.sampling):
        columns = [
            [*history, turn("assistant", progress.columns[name].text)]
            for name, history in zip(said.names, asking, strict=False)
        ]
        measured = _status(engine, progress) + warnings
        yield ("", measured, *columns, *hidden)
    proof = integrity(model, conversations[said.names[0]])
    shown = compare_detail.badge(proof, lambda name: compare_talk.title(engine, name))
    yield ("", measured + shown, *columns, *hidden)


def _status(engine: Engine, progress: Progress) -> str:
    """One line a column: tokens, speed, and why it ended."""
    lines = [
        f"<li><strong>{escape(compare_talk.title(engine, name))}</strong> "
        f"{_column_status(column)}</li>"
        for name, column in progress.columns.items()
    ]
    return f'<ul class="rs-status">{"".join(lines)}</ul>'


def _column_status(column: ColumnProgress) -> str:
    words = f"{column.tokens} tokens"
    if column.tokens_per_s:
        words += f", {layout.number(column.tokens_per_s)} a second"
    if column.first_token_s is not None:
        words += f", the first after {layout.duration(column.first_token_s)}"
    ending = {"token limit": ", cut at the token limit", "context full": ", the context is full"}
    return words + ending.get(column.finished or "", "")
