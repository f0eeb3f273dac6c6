"""Many prompts at once: every column's answers in a table, checked, and the loss on held-out rows.

Knows where prompts come from on the page; answering, checking and scoring are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.compare.checks import passes
from lora_engine.compare.held_out_data import held_out_rows, trained_with
from lora_engine.compare.heldout import paired_difference, row_losses
from lora_engine.compare.model import BASE_COLUMN
from lora_engine.compare.prompt_file import read_prompts
from lora_engine.compare.prompt_set import PromptAnswers, answer_prompts
from lora_engine.compare.sampling import Sampling
from lora_engine.data import Row, tokenize_rows
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_talk, forms, layout
from pages.live import Column, live_table, table_value
from pages.wiring import problem_box, wire

MAX_HELD_OUT = 200
CHECKS = [
    ("nothing", "none"),
    ("equals the expected text", "exact"),
    ("contains the expected text", "contains"),
    ("is JSON", "json"),
    ("matches the expected pattern", "regex"),
]


@dataclass(frozen=True)
class _Parts:
    """The components of this section."""

    prompts: gr.Textbox
    check: gr.Dropdown
    expected: gr.Textbox
    summary: gr.HTML
    table: gr.HTML


def section(engine: Engine, talk: compare_talk.Talk) -> None:
    """An accordion: prompts in, a table of answers side by side out."""
    with gr.Accordion("Many prompts at once", open=False, elem_id="prompt-set"):
        prompts = gr.Textbox(
            value="", label="Prompts", info="One a line.", lines=5, max_lines=12,
            elem_id="prompts",
        )  # fmt: skip
        with gr.Row(elem_classes="rs-actions"):
            upload = gr.UploadButton(
                "Upload prompts", file_types=[".jsonl", ".txt", ".csv"], size="sm"
            )
            held_out = gr.Button("Take the adapter's held-out rows", size="sm", elem_id="held-out")
            losses = gr.Button("Loss on the held-out rows", size="sm", elem_id="losses")
        with gr.Row():
            check = gr.Dropdown(CHECKS, value="none", label="Check that an answer")
            expected = gr.Textbox(value="", label="Expected", info="The same for every prompt.")
        with gr.Row(elem_classes="rs-actions"):
            run = gr.Button("Answer all", variant="primary", elem_id="answer-all")
            stop = gr.Button("Stop", variant="stop")
        problem = problem_box()
        summary = gr.HTML(elem_id="set-summary")
        table = live_table(label="Answers", file_name="answers.csv", elem_id="set-table")
    parts = _Parts(prompts, check, expected, summary, table)
    _wire(engine, talk, parts, (upload, held_out, losses, run, stop), problem)


def _wire(
    engine: Engine,
    talk: compare_talk.Talk,
    parts: _Parts,
    buttons: tuple[gr.UploadButton, gr.Button, gr.Button, gr.Button, gr.Button],
    problem: gr.HTML,
) -> None:
    upload, held_out, losses, run, stop = buttons

    def take_file(path: str) -> str:
        return "\n".join(_one_line(prompt) for prompt in read_prompts(Path(path)))

    def take_held_out(chosen: list[str]) -> str:
        return "\n".join(_one_line(_question(row)) for row in _held_out(engine, chosen))

    def answer_all(
        text: str, check: str, expected: str, chosen: list[str], base: str, system: str,
        *values: Any,
    ) -> Iterator[tuple[str, str]]:  # fmt: skip
        questions = [line.strip() for line in text.splitlines() if line.strip()]
        model = engine.comparison(base, chosen)
        wanted = forms.numbers_read(Sampling, values)
        done: list[PromptAnswers] = []
        for answered in answer_prompts(model, questions, wanted, system=system.strip() or None):
            done.append(answered)
            words = f"<p>{len(done)} of {len(questions)} prompts answered.</p>"
            yield words, _table(engine, done, check, expected)
        yield _summary(engine, done, check, expected), _table(engine, done, check, expected)

    def compare_losses(chosen: list[str], base: str) -> Iterator[str]:
        yield from _losses(engine, chosen, base)

    who = [talk.adapters, talk.base]
    wire([upload.upload], take_file, [upload], [parts.prompts], problem=problem)
    wire([held_out.click], take_held_out, [talk.adapters], [parts.prompts], problem=problem)
    running = [
        wire(
            [run.click], answer_all,
            [parts.prompts, parts.check, parts.expected, *who, talk.system, *talk.sampling],
            [parts.summary, parts.table], problem=problem,
        ),
        wire([losses.click], compare_losses, who, [parts.summary], problem=problem),
    ]  # fmt: skip
    stop.click(fn=None, cancels=running, api_visibility="private")


def _losses(engine: Engine, chosen: Sequence[str], base: str) -> Iterator[str]:
    """The mean loss of base and adapters on the first adapter's held-out rows, as they come."""
    rows = _held_out(engine, chosen)
    length = trained_with(engine.adapter(chosen[0]).path).optimization.max_length
    tokenizer = load_tokenizer(resolve_base_model(base, engine.settings))
    model = engine.comparison(base, chosen)
    found = []
    for loss in row_losses(model, tokenize_rows(rows, tokenizer, length)):
        found.append(loss)
        if len(found) % 10 == 0:
            yield f"<p>{len(found)} of {len(rows)} rows.</p>"
    lines = []
    for column in chosen:
        pair = paired_difference(found, column)
        sure = pair.low > 0 or pair.high < 0
        word = "better" if pair.difference < 0 else "worse"
        verdict = f"really {word}" if sure else "no sure difference"
        lines.append(
            f"<li><strong>{escape(compare_talk.title(engine, column))}</strong>: "
            f"{layout.number(pair.loss)} nats a token against the base's "
            f"{layout.number(pair.base_loss)}; difference {layout.number(pair.difference)} "
            f"(95 % between {layout.number(pair.low)} and {layout.number(pair.high)}, "
            f"{pair.rows} rows): {verdict}.</li>"
        )
    yield f"<ul>{''.join(lines)}</ul>"


def _held_out(engine: Engine, chosen: Sequence[str]) -> tuple[Row, ...]:
    if not chosen:
        raise EngineError("No adapter is chosen.", "Choose one above.")
    return held_out_rows(engine.adapter(chosen[0]).path, engine.settings)[:MAX_HELD_OUT]


def _question(row: Row) -> str:
    return next((turn.content for turn in row.messages if turn.role == "user"), row.text or "")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _table(engine: Engine, done: Sequence[PromptAnswers], check: str, expected: str) -> str:
    if not done:
        return table_value([Column("Prompt")], [], empty="No answer yet.")
    names = [answer.name for answer in done[0].answers]
    columns = [Column("Prompt")]
    for name in names:
        columns.append(Column(compare_talk.title(engine, name)))
        if check != "none":
            columns.append(Column(f"{compare_talk.title(engine, name)}: passes"))
    rows = []
    for item in done:
        row: list[str] = [item.prompt]
        for answer in item.answers:
            row.append(answer.text)
            if check != "none":
                row.append("yes" if passes(check, [answer.text], expected)[0] else "no")
        rows.append(tuple(row))
    return table_value(columns, rows)


def _summary(engine: Engine, done: Sequence[PromptAnswers], check: str, expected: str) -> str:
    """Per column: how many answers pass, how long they are, how many equal the base's."""
    lines = []
    for place, answer in enumerate(done[0].answers):
        texts = [item.answers[place].text for item in done]
        tokens = [item.answers[place].tokens for item in done]
        words = f"{layout.number(sum(tokens) / len(tokens))} tokens on average"
        if check != "none":
            words += f", {sum(passes(check, texts, expected))} of {len(texts)} pass"
        if answer.name != BASE_COLUMN:
            same = sum(item.answers[place].text == item.answers[0].text for item in done)
            words += f", {same} the same as the base's"
        name = escape(compare_talk.title(engine, answer.name))
        lines.append(f"<li><strong>{name}</strong>: {words}.</li>")
    return f"<ul>{''.join(lines)}</ul>"
