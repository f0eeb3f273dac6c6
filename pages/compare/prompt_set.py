"""Many prompts at once: every column's answers in a table, checked, and the loss on held-out rows.

Knows where prompts come from on the page; answering, checking and scoring are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from lora_engine.compare.generate.prompt_set import PromptAnswers, answer_prompts_with_ticks
from lora_engine.compare.prompts.held_out_rows import load_held_out_rows, training_spec_of
from lora_engine.compare.prompts.prompt_file import case_from_row, parse_cases, read_cases
from lora_engine.compare.scoring.set_report import check_answers
from lora_engine.data import Row
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import conversation, held_out_losses, set_report, token_by_token
from pages.compare.conversation import Talk
from pages.shared import layout
from pages.shared.live import live_table
from pages.shared.stop_button import Stops
from pages.shared.wiring import problem_box, wire

MAX_HELD_OUT = 200
NOTHING = "none"
CHECKS = [
    ("nothing", NOTHING),
    ("equals the expected text", "exact"),
    ("contains the expected text", "contains"),
    ("is JSON", "json"),
    ("matches the expected pattern", "regex"),
]


class _Set:
    """The components of this section."""

    def __init__(self) -> None:
        self.prompts = gr.Textbox(
            value="", label="Prompts", lines=5, max_lines=12, elem_id="prompts",
            info="One a line; a JSON object may bring the expected answer along.",
        )  # fmt: skip
        with gr.Row(elem_classes="rs-actions"):
            self.upload = gr.UploadButton(
                "Upload prompts (JSONL, CSV, TXT)", file_types=[".jsonl", ".txt", ".csv"],
                size="sm", elem_id="upload-prompts",
            )  # fmt: skip
            self.held_out = gr.Button("Take the adapter's held-out rows", size="sm")
            self.losses = gr.Button("Loss on the held-out rows", size="sm")
        with gr.Row():
            self.check = gr.Dropdown(CHECKS, value=NOTHING, label="Check that an answer")
            self.expected = gr.Textbox(
                value="", label="Expected", info="For every prompt that has no answer of its own."
            )
        with gr.Row(elem_classes="rs-actions"):
            self.run = gr.Button("Answer all", variant="primary", elem_id="answer-all")
            self.stop = gr.Button("Stop", variant="stop", elem_id="stop-set")
            self.download = gr.DownloadButton(
                "Download JSONL", interactive=False, elem_id="set-jsonl"
            )
        self.problem = problem_box()
        self.summary = gr.HTML(elem_id="set-summary")
        self.table = live_table(label="Answers", file_name="answers.csv", elem_id="set-table")
        self.differences = gr.HTML(elem_id="set-differences")


class _Handlers:
    """What the section's events do."""

    def __init__(self, engine: Engine, talk: Talk) -> None:
        self.engine = engine
        self.talk = talk
        self.stops = Stops()

    def title(self, column: str) -> str:
        return conversation.title(self.engine, column)

    def take_file(self, path: str) -> str:
        return "\n".join(case.as_line() for case in read_cases(Path(path)))

    def take_held_out(self, chosen: list[str]) -> str:
        return "\n".join(case_from_row(row).as_line() for row in self._held_out(chosen))

    def answer_all(
        self, request: gr.Request, text: str, check: str, expected: str, *values: Any
    ) -> Iterator[tuple]:
        """Outputs: summary, table, differences, download."""
        said = self.talk.read(values)
        cases = parse_cases(text)
        model = self.engine.compare.model(said.base, said.chosen)
        questions, system = [case.prompt for case in cases], said.system.strip() or None
        heading, done = partial(said.heading, self.engine), list[PromptAnswers]()
        with self.stops.running(request) as stopped:
            uses = dict(zip(said.chosen, said.uses, strict=True))
            for answered in answer_prompts_with_ticks(
                model, questions, said.sampling, stopped, system, uses
            ):
                if answered is None:  # a closed tab ends the handler at a yield
                    yield gr.skip()
                    continue
                done.append(answered)
                words = held_out_losses.progress_html(len(done), len(cases), "prompts answered")
                rows = check_answers(cases, done, None, "")
                yield (words, set_report.table(rows, heading, False), "", gr.skip())
        wanted = None if check == NOTHING else check
        rows = check_answers(cases, done, wanted, expected)
        mismatches = {self.title(n): words for n, words in model.template_mismatches().items()}
        yield (
            set_report.summary(rows, heading) + token_by_token.mismatches(mismatches),
            set_report.table(rows, heading, wanted is not None),
            set_report.differences(rows, heading),
            gr.DownloadButton(value=set_report.jsonl_file(rows), interactive=bool(rows)),
        )

    def compare_losses(self, request: gr.Request, chosen: list[str], base: str) -> Iterator[str]:
        """The mean loss of base and adapters on the first adapter's held-out rows."""
        rows = self._held_out(chosen)
        length = training_spec_of(self.engine.adapters.get(chosen[0]).path).optimization.max_length
        model = self.engine.compare.model(base, chosen)
        with self.stops.running(request) as stopped:
            found = yield from held_out_losses.losses(model, rows, length, stopped)
        yield held_out_losses.differences(found, chosen, self.title, lambda pair: pair.verdict)

    def _held_out(self, chosen: list[str]) -> tuple[Row, ...]:
        if not chosen:
            raise EngineError("No adapter is chosen.", "Choose one above.")
        adapter = self.engine.adapters.get(chosen[0]).path
        return load_held_out_rows(adapter, self.engine.settings)[:MAX_HELD_OUT]


def section(engine: Engine, talk: Talk) -> None:
    """An accordion: prompts in, a table of answers side by side out."""
    with layout.folded("Many prompts at once", "prompt-set"):
        parts = _Set()
    does = _Handlers(engine, talk)
    problem, who = parts.problem, [talk.adapters, talk.base]
    wire([parts.upload.upload], does.take_file, [parts.upload], [parts.prompts], problem=problem)
    wire([parts.held_out.click], does.take_held_out, [talk.adapters], [parts.prompts],
         problem=problem)  # fmt: skip
    wire([parts.run.click], does.answer_all,
         [parts.prompts, parts.check, parts.expected, *talk.inputs],
         [parts.summary, parts.table, parts.differences, parts.download],
         problem=problem)  # fmt: skip
    wire([parts.losses.click], does.compare_losses, who, [parts.summary], problem=problem)
    does.stops.connect(parts.stop)
