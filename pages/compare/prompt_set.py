"""Many prompts at once: every column's answers in a table, checked.

Knows where prompts come from on the page; answering and checking are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import gradio as gr

from lora_engine.compare.generate import ComparisonModel, PromptAnswers, answer_prompts_with_ticks
from lora_engine.compare.prompts import case_from_row, parse_cases, read_cases
from lora_engine.compare.scoring import check_answers
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages.compare import held_out_losses, prompt_set_report, tools
from pages.compare.column_warnings import mismatch_badges
from pages.compare.conversation import column_title
from pages.compare.conversation_fields import ConversationFields, Values, in_words
from pages.compare.held_out import held_out_rows
from pages.shared import layout
from pages.shared.live import live_table
from pages.shared.stop_button import Stops
from pages.shared.uploads import once_read
from pages.shared.wiring import Update, problem_box, wire

NOTHING = "none"
ANSWERED = translatable("{done} of {total} prompts answered.")
CHECKS = [
    (translatable("is not checked"), NOTHING),
    (translatable("equals the expected text"), "exact"),
    (translatable("contains the expected text"), "contains"),
    (translatable("is JSON"), "json"),
    (translatable("matches the expected pattern"), "regex"),
]


@dataclass(frozen=True)
class PromptSetFields:
    """Prompts and how they are checked; the answers, and what follows from them."""

    prompts: gr.Textbox
    upload: gr.UploadButton
    held_out: gr.Button
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
    """A tab: prompts in, a table of answers side by side out."""
    with tools.inside(fields.tabs, tools.SET), gr.Column(elem_id="prompt-set"):
        parts = _prompt_set_fields()

    handlers = _Handlers(engine, fields, parts)
    bind = partial(wire, problem=parts.problem)
    bind([parts.upload.upload], handlers.take_file, [parts.upload], [parts.prompts])
    bind([parts.held_out.click], handlers.take_held_out, [fields.adapters], [parts.prompts])
    bind([parts.run.click], handlers.answer_all,
         {parts.prompts, parts.check, parts.expected, *fields.inputs},
         [parts.summary, parts.table, parts.differences, parts.download])  # fmt: skip
    handlers.stops.connect(parts.stop)


def _prompt_set_fields() -> PromptSetFields:
    layout.section(
        tr("Many prompts at once"),
        tr("Every column answers them all; the answers stand side by side, and can be checked."),
    )
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            prompts = gr.Textbox(
                value="",
                label=tr("Prompts"),
                lines=5,
                max_lines=12,
                elem_id="prompts",
                info=tr("One a line; a JSON object may bring the expected answer along."),
            )
            with gr.Row(elem_classes="rs-actions"):
                upload = gr.UploadButton(
                    tr("Upload prompts (JSONL, CSV, TXT)"),
                    file_types=[".jsonl", ".txt", ".csv", ".tsv"],
                    size="sm",
                    elem_id="upload-prompts",
                )
                held_out = gr.Button(
                    tr("Take the adapter's held-out rows"), size="sm", elem_id="take-held-out"
                )
        with gr.Column(scale=2, min_width=280):
            check = gr.Dropdown(in_words(CHECKS), value=NOTHING, label=tr("Check that an answer"))
            expected = gr.Textbox(
                value="",
                label=tr("Expected"),
                info=tr("For every prompt that has no answer of its own."),
            )
    with gr.Row(elem_classes="rs-actions"):
        run = gr.Button(tr("Answer all"), variant="primary", elem_id="answer-all")
        stop = gr.Button(tr("Stop"), variant="stop", elem_id="stop-set")
        download = gr.DownloadButton(tr("Download JSONL"), interactive=False, elem_id="set-jsonl")
    return PromptSetFields(
        prompts, upload, held_out, check, expected, run, stop, download,
        problem=problem_box(),
        summary=gr.HTML(elem_id="set-summary"),
        table=live_table(label=tr("Answers"), file_name="answers.csv", elem_id="set-table"),
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
        with once_read(path) as file:
            return "\n".join(case.as_line() for case in read_cases(file))

    def take_held_out(self, adapters: list[str]) -> str:
        rows = held_out_rows(self.engine, adapters)
        return "\n".join(case_from_row(row).as_line() for row in rows)

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
                        len(done), len(cases), tr(ANSWERED)
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

    def _mismatches(self, model: ComparisonModel) -> str:
        found = model.template_mismatches().items()
        return mismatch_badges({column_title(self.engine, name): words for name, words in found})
