"""Prediction against measurement: the memory of past runs, and the margins they would give."""

from __future__ import annotations

import statistics

import gradio as gr

from lora_engine import calculator
from lora_engine.engine import Engine
from lora_engine.training.memory import MemoryRecord, read_records, refit_margins
from pages import RUNS
from pages.shared import layout, live
from pages.shared.wiring import Update, problem_box, wire

COLUMNS = (
    live.Column("run"),
    live.Column("device"),
    live.Column("tokens a batch", layout.count, numeric=True),
    live.Column("predicted, MiB", layout.number, numeric=True),
    live.Column("measured, MiB", layout.number, numeric=True),
    live.Column("error", layout.share, numeric=True),
)
MIB = 2**20


def section(engine: Engine, blocks: gr.Blocks) -> None:
    layout.section(
        "Prediction against measurement",
        "The memory your own runs were predicted to need, and what they took.",
    )
    problem = problem_box()
    words = gr.HTML(js_on_load="", elem_id="calibration")
    table = live.live_table(label="Predicted and measured memory", file_name="predictions.csv")

    def show_records() -> Update:
        records = read_records(engine.settings.runs_dir)
        return {words: words_html(records), table: table_value(records)}

    wire([blocks.load], show_records, [], [words, table], problem=problem, queue=False)


def table_value(records: list[MemoryRecord]) -> str:
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
    empty = "No run has finished yet: each one adds a line here."
    return live.table_value(COLUMNS, rows, links=links, empty=empty)


def words_html(records: list[MemoryRecord]) -> str:
    if not records:
        return ""
    middle = statistics.median(abs(record.error) for record in records)
    runs = "one run" if len(records) == 1 else f"{len(records):,} runs"
    notes = [f"Median error of the prediction over {runs}: {layout.share(middle)}."]
    for device in sorted({record.prediction.device for record in records}):
        stated, fitted = calculator.Margins(), refit_margins(records, device)
        if fitted == stated:
            continue
        share = fitted.fragmentation if device == "cuda" else fitted.cpu_fragmentation
        what = f"Refitted on {device}, and used for its next runs: {layout.share(share)} of what"
        once = f", {layout.number(fitted.cpu_overhead_gib)} GiB once a process"
        notes.append(f"{what} comes and goes{once if device == 'cpu' else ''}.")
    return layout.notes_html(notes)
