"""Many prompts at once: every column's answers in a table, checked, and the loss on held-out rows.

Knows where prompts come from on the page; answering, checking and scoring are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from lora_engine.compare.generate import ComparisonModel, PromptAnswers, answer_prompts_with_ticks
from lora_engine.compare.prompts import (
    case_from_row,
    load_held_out_rows,
    parse_cases,
    read_cases,
    training_spec_of,
)
from lora_engine.compare.scoring import check_answers
from lora_engine.data import Row, tokenize_rows, tokenizer_as_trained
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import held_out_losses, prompt_set_report
from pages.compare.column_warnings import mismatch_badges
from pages.compare.conversation import column_title
from pages.compare.conversation_fields import ConversationFields, Values
from pages.shared import layout
from pages.shared.live import live_table
from pages.shared.stop_button import Stops
from pages.shared.wiring import Update, problem_box, wire

MAX_HELD_OUT = 200
NOTHING = "none"
CHECKS = [
    ("nothing", NOTHING),
    ("equals the expected text", "exact"),
    ("contains the expected text", "contains"),
    ("is JSON", "json"),
    ("matches the expected pattern", "regex"),
]


@dataclass(frozen=True)
class PromptSetFields:
    """Prompts and how they are checked; the answers, and what follows from them."""

    prompts: gr.Textbox
    upload: gr.UploadButton
    held_out: gr.Button
    losses: gr.Button
    check: gr.Dropdown
    expected: gr.Textbox
    run: gr.Button
    stop: gr.Button
    download: gr.DownloadButton
    problem: gr.HTML
    summary: gr.HTML
    table: gr.HTML
    differences: gr.HTML


def section(engine: Engine, fields: ConversationFields) -> None:
    """An accordion: prompts in, a table of answers side by side out."""
    with layout.folded("Many prompts at once", "prompt-set"):
        parts = _prompt_set_fields()

    handlers = _Handlers(engine, fields, parts)
    bind = partial(wire, problem=parts.problem)
    bind([parts.upload.upload], handlers.take_file, [parts.upload], [parts.prompts])
    bind([parts.held_out.click], handlers.take_held_out, [fields.adapters], [parts.prompts])
    bind([parts.losses.click], handlers.compare_losses, [fields.adapters, fields.base],
         [parts.summary])  # fmt: skip
    bind([parts.run.click], handlers.answer_all,
         {parts.prompts, parts.check, parts.expected, *fields.inputs},
         [parts.summary, parts.table, parts.differences, parts.download])  # fmt: skip
    handlers.stops.connect(parts.stop)


def _prompt_set_fields() -> PromptSetFields:
    prompts = gr.Textbox(
        value="",
        label="Prompts",
        lines=5,
        max_lines=12,
        elem_id="prompts",
        info="One a line; a JSON object may bring the expected answer along.",
    )
    with gr.Row(elem_classes="rs-actions"):
        upload = gr.UploadButton(
            "Upload prompts (JSONL, CSV, TXT)",
            file_types=[".jsonl", ".txt", ".csv", ".tsv"],
            size="sm",
            elem_id="upload-prompts",
        )
        held_out = gr.Button("Take the adapter's held-out rows", size="sm")
        losses = gr.Button("Loss on the held-out rows", size="sm")
    with gr.Row():
        check = gr.Dropdown(CHECKS, value=NOTHING, label="Check that an answer")
        expected = gr.Textbox(
            value="", label="Expected", info="For every prompt that has no answer of its own."
        )
    with gr.Row(elem_classes="rs-actions"):
        run = gr.Button("Answer all", variant="primary", elem_id="answer-all")
        stop = gr.Button("Stop", variant="stop", elem_id="stop-set")
        download = gr.DownloadButton("Download JSONL", interactive=False, elem_id="set-jsonl")
    return PromptSetFields(
        prompts, upload, held_out, losses, check, expected, run, stop, download,
        problem=problem_box(),
        summary=gr.HTML(elem_id="set-summary"),
        table=live_table(label="Answers", file_name="answers.csv", elem_id="set-table"),
        differences=gr.HTML(elem_id="set-differences"),
    )  # fmt: skip


class _Handlers:
    """What the section's events do."""

    def __init__(self, engine: Engine, fields: ConversationFields, parts: PromptSetFields) -> None:
        self.engine = engine
        self.fields = fields
        self.parts = parts
        self.stops = Stops()

    def take_file(self, path: str) -> str:
        return "\n".join(case.as_line() for case in read_cases(Path(path)))

    def take_held_out(self, adapters: list[str]) -> str:
        return "\n".join(case_from_row(row).as_line() for row in self._held_out(adapters))

    def answer_all(self, values: Values, request: gr.Request) -> Iterator[Update]:
        conversation = self.fields.read(values)
        cases = parse_cases(values[self.parts.prompts])
        model = conversation.model(self.engine)
        label = partial(conversation.label, self.engine)
        done: list[PromptAnswers] = []
        with self.stops.running(request) as stop:
            for answered in answer_prompts_with_ticks(
                model,
                [case.prompt for case in cases],
                conversation.sampling,
                stop,
                conversation.system.strip() or None,
                dict(zip(conversation.adapters, conversation.settings, strict=True)),
            ):
                if answered is None:  # a closed tab ends the handler at a yield
                    yield {}
                    continue
                done.append(answered)
                so_far = check_answers(cases, done, None, "")
                yield {
                    self.parts.summary: held_out_losses.progress_html(
                        len(done), len(cases), "prompts answered"
                    ),
                    self.parts.table: prompt_set_report.answers_table(so_far, label, False),
                    self.parts.differences: "",
                }
        check = values[self.parts.check]
        wanted = None if check == NOTHING else check
        rows = check_answers(cases, done, wanted, values[self.parts.expected])
        checks = wanted is not None
        summary = prompt_set_report.summary_html(rows, label) + self._mismatches(model)
        yield {
            self.parts.summary: summary,
            self.parts.table: prompt_set_report.answers_table(rows, label, checks),
            self.parts.differences: prompt_set_report.differences_html(rows, label),
            self.parts.download: gr.DownloadButton(
                value=prompt_set_report.jsonl_file(rows), interactive=bool(rows)
            ),
        }

    def compare_losses(self, adapters: list[str], base: str, request: gr.Request) -> Iterator[str]:
        """The mean loss of base and adapters on the first adapter's held-out rows."""
        rows = self._held_out(adapters)
        folder = self.engine.adapters.get(adapters[0]).path
        length = training_spec_of(folder).optimization.max_length
        model = self.engine.compare.model(base, adapters)
        tokenizer = tokenizer_as_trained(model.shared.tokenizer, folder)
        tokenized = tokenize_rows(rows, tokenizer, length)
        with self.stops.running(request) as stop:
            found = yield from held_out_losses.losses(model, tokenized, stop)
        title = partial(column_title, self.engine)
        yield held_out_losses.differences_html(found, adapters, title, lambda pair: pair.verdict)

    def _held_out(self, adapters: list[str]) -> Sequence[Row]:
        if not adapters:
            raise EngineError("No adapter is chosen.", "Choose one above.")
        folder = self.engine.adapters.get(adapters[0]).path
        return load_held_out_rows(folder, self.engine.settings)[:MAX_HELD_OUT]

    def _mismatches(self, model: ComparisonModel) -> str:
        found = model.template_mismatches().items()
        return mismatch_badges({column_title(self.engine, name): words for name, words in found})
