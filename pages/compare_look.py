"""A close look at the last answer: token by token, and against the adapter's strength."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_engine.compare.model import ComparisonModel
from lora_engine.compare.tokens import compare_tokens, strength_curve
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_detail, compare_talk
from pages.live import live_plot, live_table
from pages.wiring import problem_box, wire


def section(engine: Engine, talk: compare_talk.Talk) -> None:
    """The last answer token by token, and how it depends on the adapter's strength."""
    with gr.Accordion("The last answer, token by token", open=False, elem_id="detail"):
        with gr.Row(elem_classes="rs-actions"):
            whose = gr.Radio(
                [("the base's answer", 0), ("the first adapter's answer", 1)],
                value=1, label="Look at", elem_id="whose", scale=3,
            )  # fmt: skip
            look = gr.Button("Look closely", elem_id="look", scale=1)
        problem = problem_box()
        tokens = gr.HTML(elem_id="tokens")
        curve = live_plot(label="Answer against strength", height=240, elem_id="strength-curve")
        table = live_table(label="Tokens", file_name="tokens.csv", elem_id="token-table")

    def look_closely(index: int, *values: Any) -> tuple[str, str, str]:
        said = talk.read(values)
        if not said.chosen:
            raise EngineError("No adapter is chosen.", "Choose one above, then ask something.")
        messages, answer = compare_talk.last_answer(said, index)
        model = engine.comparison(said.base, said.chosen[:1])
        return _close_look(engine, model, said.chosen[0], messages, answer)

    wire(
        [look.click], look_closely, [whose, *talk.inputs], [tokens, curve, table],
        problem=problem, show_progress="minimal",
    )  # fmt: skip


def _close_look(
    engine: Engine, model: ComparisonModel, column: str, messages: list[Message], answer: str
) -> tuple[str, str, str]:
    found = compare_tokens(model, messages, answer)
    try:
        curve = compare_detail.strength_figure(strength_curve(model, column, messages, answer))
    except EngineError:
        # DoRA and modules trained whole have no strength to vary; the tokens still do.
        curve = ""
    return (
        compare_detail.coloured(found, column, lambda name: compare_talk.title(engine, name)),
        curve,
        compare_detail.token_table(found, column),
    )
