"""A close look at the last answer: token by token, against the strength, layer by layer."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_engine.compare.model import ComparisonModel
from lora_engine.compare.tokens import (
    adapter_layers,
    compare_tokens,
    layer_contributions,
    strength_curve,
    without_layers,
)
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages import compare_detail, compare_talk
from pages.compare_talk import Talk
from pages.live import live_plot, live_table
from pages.wiring import problem_box, wire


class _Look:
    """The components of this section."""

    def __init__(self) -> None:
        with gr.Row(elem_classes="rs-actions"):
            self.whose = gr.Radio(
                [("the base's answer", 0), ("the first adapter's answer", 1)],
                value=1, label="Look at", elem_id="whose", scale=3,
            )  # fmt: skip
            self.look = gr.Button("Look closely", elem_id="look", scale=1)
        self.problem = problem_box()
        self.tokens = gr.HTML(elem_id="tokens")
        with gr.Row():
            with gr.Column(min_width=320):
                self.curve = live_plot(
                    label="Answer against strength", height=260, elem_id="strength-curve"
                )
            with gr.Column(min_width=320):
                self.layers = gr.HTML(elem_id="layers")
                self.off = gr.CheckboxGroup(
                    [], label="Layers with the adapter", visible=False, elem_id="layers-on",
                    info="Take ticks away to switch the adapter off there.",
                )  # fmt: skip
                self.switched = gr.HTML(elem_id="layers-switched")
        self.table = live_table(label="Tokens", file_name="tokens.csv", elem_id="token-table")


def section(engine: Engine, talk: Talk) -> None:
    """The last answer token by token, and which strength and which layers make it."""
    with gr.Accordion("The last answer, token by token", open=False, elem_id="detail"):
        parts = _Look()

    def look_closely(index: int, *values: Any) -> tuple:
        model, column, messages, answer = _looked_at(engine, talk, index, values)
        return _close_look(engine, model, column, messages, answer)

    def switch_layers(on: list[int], index: int, *values: Any) -> str:
        model, column, messages, answer = _looked_at(engine, talk, index, values)
        off = frozenset(adapter_layers(model, column)) - frozenset(on)
        return compare_detail.switched(without_layers(model, column, messages, answer, off), off)

    shown = [parts.tokens, parts.curve, parts.layers, parts.off, parts.switched, parts.table]
    wire(
        [parts.look.click], look_closely, [parts.whose, *talk.inputs], shown,
        problem=parts.problem, show_progress="minimal",
    )  # fmt: skip
    wire(
        [parts.off.input], switch_layers, [parts.off, parts.whose, *talk.inputs],
        [parts.switched], problem=parts.problem, trigger_mode="always_last",
    )  # fmt: skip


def _looked_at(
    engine: Engine, talk: Talk, index: int, values: tuple
) -> tuple[ComparisonModel, str, list[Message], str]:
    """The model, the first adapter's column, the conversation and the answer in `index`."""
    said = talk.read(values)
    if not said.chosen:
        raise EngineError("No adapter is chosen.", "Choose one above, then ask something.")
    messages, answer = compare_talk.last_answer(said, index)
    return engine.comparison(said.base, said.chosen[:1]), said.chosen[0], messages, answer


def _close_look(
    engine: Engine, model: ComparisonModel, column: str, messages: list[Message], answer: str
) -> tuple:
    found = compare_tokens(model, messages, answer)
    coloured = compare_detail.coloured(found, column, lambda name: compare_talk.title(engine, name))
    table = compare_detail.token_table(found, column)
    try:
        curve = compare_detail.strength_figure(strength_curve(model, column, messages, answer))
        points = layer_contributions(model, column, messages, answer)
        whole = without_layers(model, column, messages, answer, frozenset())
    except EngineError:
        # DoRA and modules trained whole have no strength or layers to vary; the tokens still do.
        return coloured, "", "", gr.CheckboxGroup(visible=False), "", table
    layers = [int(point.x) for point in points]
    switches = gr.CheckboxGroup([(str(n), n) for n in layers], value=layers, visible=True)
    pictured = compare_detail.layer_bars(points, whole)
    return coloured, curve, pictured, switches, compare_detail.switched(whole, frozenset()), table
