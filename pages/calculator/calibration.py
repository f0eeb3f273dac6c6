"""Prediction against measurement: the memory of past runs, and the margins they would give."""

from __future__ import annotations

import statistics

import gradio as gr

from lora_engine import calculator
from lora_engine.engine import Engine
from lora_engine.language import tr, tr_count
from lora_engine.training.memory import MemoryRecord, read_records, refit_margins
from pages import RUNS
from pages.shared import layout, live
from pages.shared.wiring import Update, problem_box, wire

MIB = 2**20


def section(engine: Engine, blocks: gr.Blocks) -> None:
    layout.section(
        tr("Prediction against measurement"),
        tr("The memory your own runs were predicted to need, and what they took."),
    )
    problem = problem_box()
    words = gr.HTML(js_on_load="", elem_id="calibration")
    table = live.live_table(label=tr("Predicted and measured memory"), file_name="predictions.csv")

    def show_records() -> Update:
        records = read_records(engine.settings.runs_dir)
        return {words: words_html(records), table: table_value(records)}

    wire([blocks.load], show_records, [], [words, table], problem=problem, queue=False)


def table_value(records: list[MemoryRecord]) -> str:
    columns = (
        live.Column(tr("run")),
        live.Column(tr("device")),
        live.Column(tr("tokens a batch"), layout.count, numeric=True),
        live.Column(tr("predicted, MiB"), layout.number, numeric=True),
        live.Column(tr("measured, MiB"), layout.number, numeric=True),
        live.Column(tr("error"), layout.share, numeric=True),
    )
    rows = [
        (
            record.run,
            record.prediction.device,
            record.prediction.batch_tokens,
            record.prediction.total_bytes / MIB,
            record.measured_bytes / MIB,
            record.error,
        )
        for record in records
    ]
    links = [layout.link(RUNS, run=record.run) for record in records]
    empty = tr("No run has finished yet: each one adds a line here.")
    return live.table_value(columns, rows, links=links, empty=empty)


def words_html(records: list[MemoryRecord]) -> str:
    if not records:
        return ""
    middle = statistics.median(abs(record.error) for record in records)
    notes = [
        tr_count(
            "Median error of the prediction over {count} run: {error}.",
            "Median error of the prediction over {count} runs: {error}.",
            len(records),
            error=layout.share(middle),
        )
    ]
    for device in sorted({record.prediction.device for record in records}):
        fitted = refit_margins(records, device)
        if fitted != calculator.Margins():
            notes.append(_refitted(device, fitted))
    return layout.notes_html(notes)


def _refitted(device: str, fitted: calculator.Margins) -> str:
    if device == "cuda":
        return tr(
            "Refitted on {device}, and used for its next runs: {share} of what comes and goes.",
            device=device,
            share=layout.share(fitted.fragmentation),
        )
    return tr(
        "Refitted on {device}, and used for its next runs: {share} of what comes and goes, {size} "
        "GiB once a process.",
        device=device,
        share=layout.share(fitted.cpu_fragmentation),
        size=layout.number(fitted.cpu_overhead_gib),
    )
