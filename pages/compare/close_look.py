"""A close look at the last answer: token by token, against the strength, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from lora_engine.compare.generate.adapter_settings import format_layers
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.scoring.token_comparison import (
    compare_tokens,
    layer_contributions,
    score_without_layers,
    strength_curve,
)
from lora_engine.data import Message
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from pages.compare import conversation, token_by_token
from pages.compare.chat import Handlers
from pages.compare.conversation import Said, Talk
from pages.shared.live import live_plot, live_table
from pages.shared.wiring import problem_box, wire


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
                self.use = gr.Button(
                    "Use these layers in the chat", size="sm", visible=False, elem_id="layers-use"
                )
        self.table = live_table(label="Tokens", file_name="tokens.csv", elem_id="token-table")


def section(engine: Engine, talk: Talk, chat: Handlers) -> None:
    """The last answer token by token, and which strength and which layers make it."""
    with gr.Accordion("The last answer, token by token", open=False, elem_id="detail"):
        parts = _Look()

    def look_closely(index: int, *values: Any) -> tuple:
        return _close_look(engine, *_looked_at(engine, talk, index, values))

    def switch_layers(on: list[int], index: int, *values: Any) -> str:
        model, said, messages, answer = _looked_at(engine, talk, index, values)
        off = frozenset(model.adapter_layers(said.chosen[0])) - frozenset(on)
        found = score_without_layers(model, said.chosen[0], messages, answer, off)
        return token_by_token.switched(found, off)

    def use_layers(request: gr.Request, on: list[int], *values: Any) -> Iterator[tuple]:
        model, said = _model_of(engine, talk, values)
        off = frozenset(model.adapter_layers(said.chosen[0])) - frozenset(on)
        for shown in chat.adjust(0, request, said.with_layers_off(off)):
            yield (format_layers(off), *shown)

    layers = [parts.layers, parts.off, parts.switched, parts.use]
    shown = [parts.tokens, parts.curve, *layers, parts.table]
    wire(
        [parts.look.click], look_closely, [parts.whose, *talk.inputs], shown,
        problem=parts.problem, show_progress="minimal",
    )  # fmt: skip
    wire(
        [parts.off.input], switch_layers, [parts.off, parts.whose, *talk.inputs],
        [parts.switched], problem=parts.problem, trigger_mode="always_last",
    )  # fmt: skip
    wire(
        [parts.use.click], use_layers, [parts.off, *talk.inputs],
        [talk.layers_off[0], *chat.shown], problem=parts.problem,
    )  # fmt: skip


def _model_of(engine: Engine, talk: Talk, values: tuple) -> tuple[ComparisonModel, Said]:
    """The base with the first adapter, and what was said."""
    said = talk.read(values)
    if not said.chosen:
        raise EngineError("No adapter is chosen.", "Choose one above, then ask something.")
    return engine.compare.model(said.base, said.chosen[:1]), said


def _looked_at(
    engine: Engine, talk: Talk, index: int, values: tuple
) -> tuple[ComparisonModel, Said, list[Message], str]:
    """The base with the first adapter, what was said, and the newest answer in column `index`."""
    model, said = _model_of(engine, talk, values)
    return model, said, *conversation.last_answer(said, index)


def _close_look(
    engine: Engine, model: ComparisonModel, said: Said, messages: list[Message], answer: str
) -> tuple:
    column, use = said.chosen[0], said.uses[0]
    found = compare_tokens(model, messages, answer, {column: use})
    coloured = token_by_token.coloured(found, column, partial(said.heading, engine))
    table = token_by_token.token_table(found, column)
    try:
        curve = token_by_token.strength_figure(strength_curve(model, column, messages, answer))
        points = layer_contributions(model, column, messages, answer)
        whole = score_without_layers(model, column, messages, answer, use.layers_off)
    except EngineError:
        # DoRA and modules trained whole have no strength or layers to vary; the tokens still do.
        hidden = gr.CheckboxGroup(visible=False), "", gr.Button(visible=False)
        return coloured, "", "", *hidden, table
    layers = [int(point.x) for point in points]
    on = [layer for layer in layers if layer not in use.layers_off]
    switches = gr.CheckboxGroup([(str(n), n) for n in layers], value=on, visible=True)
    pictured = token_by_token.layer_bars(points, whole)
    switched = token_by_token.switched(whole, use.layers_off)
    return coloured, curve, pictured, switches, switched, gr.Button(visible=True), table
