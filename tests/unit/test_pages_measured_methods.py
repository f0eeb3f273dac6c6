"""The calculator's section on methods: what a report looks like as a table and a heading."""

import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr  # noqa: TID251
import pytest

from lora_engine.measured_methods import AnswerLatency, MeasuredMethod, MethodsReport, task_spec
from lora_engine.measured_methods.report import Counted, Measured
from pages.calculator import measured_section
from tests.page_events import answered

# Every gr.Blocks leaves the event loop it made to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")

MIB = 2**20
COUNTED = Counted(trained_parameters=100, peak_memory_bytes=300 * MIB, latency="none")
MEASURED = Measured(
    trained_parameters=100,
    peak_memory_bytes=400 * MIB,
    elapsed_s=12.5,
    steps=60,
    tokens_per_s=1234.4,
    train_loss=2.0,
    eval_loss=1.5,
    answers=AnswerLatency(ms_per_token=4.0, times_base=1.25),
)
DONE = MeasuredMethod("prefix", "run1", "finished", None, 0.01, COUNTED, MEASURED)
FAILED = MeasuredMethod("vera", "run2", "failed", "It <broke>. Mend it.", 0.004, COUNTED, None)
REFUSED = MeasuredMethod("qlora", None, "refused", "No.", None, None, None)


def report(rows, base_ms=3.2, is_over=True) -> MethodsReport:
    return MethodsReport(
        "group1", "pirate", "starter", "starter:pirate", tuple(rows), is_over, base_ms
    )


def test_counted_and_measured_stand_in_one_row_that_leads_to_the_run():
    table = json.loads(measured_section.table_value(report([DONE, FAILED, REFUSED])))
    raw = [row["raw"] for row in table["rows"]]
    assert raw[0] == [
        "prefix tuning", 100, 100, 300.0, 400.0, 12.5, 1234, 1.5, 4.0, 1.25, 0.01, "finished", None,
    ]  # fmt: skip
    assert raw[1][:5] == ["VeRA", 100, None, 300.0, None]
    assert raw[1][-2:] == ["failed", "It <broke>. Mend it."]
    assert raw[2] == ["QLoRA", *[None] * 10, "refused", "No."]
    assert table["links"] == ["/runs?run=run1", "/runs?run=run2", None]
    assert len(raw[0]) == len(table["columns"])


def test_the_heading_says_how_far_it_is():
    over = measured_section.heading_html(report([DONE, FAILED]))
    assert "1 of 2 done" in over
    assert "3.20 ms a token" in over
    assert "/compare?adapter=run1" in over
    untimed = measured_section.heading_html(report([DONE], base_ms=None))
    assert "being timed" in untimed
    going = measured_section.heading_html(report([FAILED], base_ms=None, is_over=False))
    assert "being timed" not in going
    assert "/compare" not in going


def test_the_task_is_evaluated_once_at_its_end():
    spec = task_spec("starter", "starter:pirate", 30)
    assert spec.name == "pirate"
    assert (spec.optimization.max_steps, spec.optimization.eval_every) == (30, 30)
    assert spec.report.samples == 0


class Timing:
    """An engine whose group is measured while the person chooses another one."""

    def __init__(self) -> None:
        self.timed: list[str] = []
        self.methods = SimpleNamespace(
            report=lambda group: replace(report([DONE]), id=group),
            answers_once=self.timed.append,
            list=list,
        )


def test_what_is_shown_after_the_timing_is_the_group_that_is_chosen_then():
    engine = Timing()
    with gr.Blocks() as page:
        measured_section.section(engine, page)

    def after(name, *given):
        event = next(one for one in page.fns.values() if one.api_name == f"page_{name}")
        return {part.elem_id: value for part, value in answered(page, event, *given).items()}

    assert "measured-methods" not in after("time_answers", "before")
    assert engine.timed == ["before"]
    assert "sweep=chosen" in after("show_timed", "before", "chosen")["methods-heading"]
    assert "methods-heading" not in after("show_timed", "", "chosen")
    assert after("show_methods", "")["methods-heading"] == ""
