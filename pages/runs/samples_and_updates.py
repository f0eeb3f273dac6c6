"""What a run writes at its evaluations: sample answers, ΔW by module, a classifier's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr
from gradio.blocks import Block

from lora_engine.engine import Engine
from lora_engine.run_folder import (
    CLASSES,
    SAMPLES,
    UPDATES,
    ClassesRow,
    SampleRow,
    UpdateRow,
    read_classes,
    read_samples,
    read_updates,
)
from pages.runs import run_figures
from pages.shared import class_scores, figures
from pages.shared.live import live_plot, live_table
from pages.shared.wiring import Update

MOST_STEPS = 40  # of a heatmap
SHOWN_ANSWERS = 6  # of a prompt: the first, and the newest

NO_SAMPLES = (
    '<p class="rs-none">No sample answers. Runs answer a few prompts at every evaluation unless '
    "their spec says report.samples 0.</p>"
)


@dataclass(frozen=True)
class Reports:
    """What the section shows: HTML, and a table and two figures as JSON.

    fingerprint: changes when the run's files of samples, updates and classes grow.
    """

    fingerprint: str
    samples: str
    classes: str = ""
    norms: str = ""
    ranks: str = ""


@dataclass(frozen=True)
class ReportParts:
    """The section's components; `fingerprint` is hidden."""

    fingerprint: gr.Textbox
    samples: gr.HTML
    classes: gr.HTML
    norms: gr.HTML
    ranks: gr.HTML

    def showing(self, reports: Reports) -> Update:
        return {
            self.fingerprint: reports.fingerprint,
            self.samples: reports.samples,
            self.classes: reports.classes,
            self.norms: reports.norms,
            self.ranks: reports.ranks,
        }

    @property
    def outputs(self) -> list[Block]:
        return [self.fingerprint, self.samples, self.classes, self.norms, self.ranks]


def lay_out() -> ReportParts:
    with gr.Accordion(
        "Sample answers or scores by class, as it learns", open=True, elem_id="samples-section"
    ):
        samples = gr.HTML(elem_id="run-samples", js_on_load="")
        classes = live_table(
            label="Scores by class", file_name="classes.csv", elem_id="run-classes"
        )
    with gr.Accordion("How the update grows, layer by layer", open=False):
        norms = live_plot(label="Norm of the update by module", height=420, elem_id="norms")
        ranks = live_plot(label="Effective rank by module", height=420, elem_id="ranks")
    return ReportParts(gr.Textbox(visible=False), samples, classes, norms, ranks)


def fingerprint_of(engine: Engine, run_id: str) -> str:
    """Changes when a run's files of samples, updates and classes grow."""
    if not run_id:
        return "none"
    paths = [engine.runs.directory(run_id).path / name for name in (SAMPLES, UPDATES, CLASSES)]
    sizes = [path.stat().st_size if path.exists() else 0 for path in paths]
    return f"{run_id}:{sizes}"


def reports_of(engine: Engine, run_id: str) -> Reports:
    """What the section shows for a run; run_id is empty where there is none."""
    fingerprint = fingerprint_of(engine, run_id)
    if not run_id:
        return Reports(fingerprint, NO_SAMPLES)
    directory = engine.runs.directory(run_id)
    updates = _thinned(read_updates(directory))
    scored = read_classes(directory)[-1:]
    return Reports(
        fingerprint=fingerprint,
        samples=scores_html(scored[0]) if scored else samples_html(read_samples(directory)),
        classes=class_scores.table(scored[0].classes) if scored else "",
        norms=_heatmap(updates, "frobenius_norm", "‖ΔW‖ (Frobenius) by module"),
        ranks=_heatmap(updates, "effective_rank", "Effective rank of ΔW by module"),
    )


def samples_html(rows: Sequence[SampleRow]) -> str:
    """A table for each prompt: the answer before training and the newest ones; escaped here."""
    if not rows:
        return NO_SAMPLES
    tables = []
    for prompt in dict.fromkeys(row.prompt for row in rows):
        answers = [row for row in rows if row.prompt == prompt]
        if len(answers) > SHOWN_ANSWERS:
            answers = [answers[0], *answers[1 - SHOWN_ANSWERS :]]
        lines = "".join(_answer(row) for row in answers)
        tables.append(f"<div><h3>{escape(prompt)}</h3><table>{lines}</table></div>")
    return f'<div class="rs-samples">{"".join(tables)}</div>'


def scores_html(row: ClassesRow) -> str:
    """What stands over the table of a classifier's classes: all of them together."""
    return (
        f'<p class="rs-verdict">On the held-out rows after step {row.step:,}: '
        f"{class_scores.in_words(row)}</p>"
    )


def _answer(row: SampleRow) -> str:
    when = f"step {row.step:,}" if row.step else "before"
    cut = "" if row.finished else " …"
    return f'<tr><th scope="row">{when}</th><td>{escape(row.text)}{cut}</td></tr>'


def _heatmap(updates: Sequence[UpdateRow], number: str, title: str) -> str:
    if not updates:
        return ""
    names = [module.name for module in updates[-1].modules]
    by_step = [{module.name: getattr(module, number) for module in row.modules} for row in updates]
    rows = [[found.get(name) for found in by_step] for name in names]
    steps = [row.step for row in updates]
    short = [name.removeprefix("model.").replace("layers.", "") for name in names]
    return figures.to_json(run_figures.growth(short, steps, rows, title))


def _thinned(updates: Sequence[UpdateRow]) -> Sequence[UpdateRow]:
    """At most MOST_STEPS rows, the last among them."""
    every = -(-len(updates) // MOST_STEPS) or 1
    return [*updates[:-1:every], updates[-1]] if updates else []
