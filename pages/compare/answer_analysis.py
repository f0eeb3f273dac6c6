"""The analysis of the last answer: token by token, against the strength, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import gradio as gr

from lora_engine.compare.generate import BASE_COLUMN, ComparisonModel, format_layers
from lora_engine.compare.scoring import (
    compare_tokens,
    layer_contributions,
    score_without_layers,
    strength_curve,
)
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.compare import answer_analysis_html, tools
from pages.compare.chat import ChatHandlers
from pages.compare.conversation import ADAPTER, BASE, Conversation
from pages.compare.conversation_fields import ConversationFields, Values, in_words
from pages.shared import layout
from pages.shared.live import live_plot, live_table
from pages.shared.wiring import Update, problem_box, wire

ANSWERS = [
    (translatable("the base's answer"), BASE),
    (translatable("the first adapter's answer"), ADAPTER),
]


@dataclass(frozen=True)
class AnalysisFields:
    """Whose answer is analysed, what is found, and the layers to switch."""

    whose: gr.Radio
    analyse: gr.Button
    problem: gr.HTML
    tokens: gr.HTML
    curve: gr.HTML
    layers: gr.HTML
    layers_on: gr.CheckboxGroup
    without_layers: gr.HTML
    use_layers: gr.Button
    table: gr.HTML


def section(engine: Engine, fields: ConversationFields, chat: ChatHandlers) -> None:
    """A tab: the last answer token by token, and which strength and which layers make it."""
    with tools.inside(fields.tabs, tools.TOKENS):
        parts = _analysis_fields()

    handlers = _Handlers(engine, fields, parts, chat)
    inputs, problem = fields.inputs, parts.problem
    of_layers = [parts.layers, parts.layers_on, parts.without_layers, parts.use_layers]
    found = [parts.tokens, parts.curve, *of_layers, parts.table]
    wire([parts.analyse.click], handlers.analyse, {parts.whose, *inputs}, found, problem=problem,
         show_progress="minimal")  # fmt: skip
    wire([parts.layers_on.input], handlers.switch_layers,
         {parts.layers_on, parts.whose, *inputs}, [parts.without_layers], problem=problem,
         trigger_mode="always_last")  # fmt: skip
    wire([parts.use_layers.click], handlers.use_layers, {parts.layers_on, *inputs},
         [fields.settings[0].layers_off, *chat.outputs], problem=problem)  # fmt: skip


def _analysis_fields() -> AnalysisFields:
    layout.section(
        tr("The last answer, token by token"),
        tr("How much the adapter raised or lowered each token, and what makes it do so."),
    )
    with gr.Row(elem_classes="rs-actions"):
        whose = gr.Radio(
            in_words(ANSWERS),
            value=ADAPTER,
            label=tr("Look at"),
            elem_id="whose",
            scale=3,
            min_width=280,
        )
        analyse = gr.Button(tr("Look closely"), variant="primary", elem_id="look", scale=1)
    problem = problem_box()
    tokens = gr.HTML(elem_id="tokens")
    with gr.Row():
        with gr.Column(min_width=320):
            curve = live_plot(
                label=tr("Answer against strength"), height=260, elem_id="strength-curve"
            )
        with gr.Column(min_width=320):
            layers = gr.HTML(elem_id="layers")
            layers_on = gr.CheckboxGroup(
                [],
                label=tr("Layers with the adapter"),
                visible=False,
                elem_id="layers-on",
                info=tr("Take ticks away to switch the adapter off there."),
            )
            without_layers = gr.HTML(elem_id="layers-switched")
            use_layers = gr.Button(
                tr("Use these layers in the chat"), size="sm", visible=False, elem_id="layers-use"
            )
    table = live_table(label=tr("Tokens"), file_name="tokens.csv", elem_id="token-table")
    return AnalysisFields(
        whose, analyse, problem, tokens, curve, layers, layers_on, without_layers, use_layers, table
    )


@dataclass(frozen=True)
class _Handlers:
    """What the section's events do; each takes the values of `ConversationFields.inputs`."""

    engine: Engine
    fields: ConversationFields
    parts: AnalysisFields
    chat: ChatHandlers

    def analyse(self, values: Values) -> Update:
        model, conversation = self._model(values)
        messages, answer = conversation.last_answer(self._column(values, conversation))
        adapter, settings = conversation.adapters[0], conversation.settings[0]
        found = compare_tokens(model, messages, answer, {adapter: settings})
        label = partial(conversation.label, self.engine)
        tokens: Update = {
            self.parts.tokens: answer_analysis_html.tokens_html(found, adapter, label),
            self.parts.table: answer_analysis_html.tokens_table(found, adapter),
        }
        try:
            curve = strength_curve(model, adapter, messages, answer)
            points = layer_contributions(model, adapter, messages, answer)
            off = settings.layers_off
            whole = score_without_layers(model, adapter, messages, answer, off)
        except EngineError:
            # DoRA, modules trained whole and virtual tokens have no strength or layers to vary.
            return {**tokens, **self._without_layers()}
        layers = [int(point.x) for point in points]
        return {
            **tokens,
            self.parts.curve: answer_analysis_html.strength_figure(curve),
            self.parts.layers: answer_analysis_html.layers_html(points, whole),
            self.parts.layers_on: gr.CheckboxGroup(
                [(str(layer), layer) for layer in layers],
                value=[layer for layer in layers if layer not in off],
                visible=True,
            ),
            self.parts.without_layers: answer_analysis_html.layers_off_html(whole, off),
            self.parts.use_layers: gr.Button(visible=True),
        }

    def switch_layers(self, values: Values) -> str:
        model, conversation = self._model(values)
        messages, answer = conversation.last_answer(self._column(values, conversation))
        off = self._layers_off(values, model, conversation)
        adapter = conversation.adapters[0]
        found = score_without_layers(model, adapter, messages, answer, off)
        return answer_analysis_html.layers_off_html(found, off)

    def use_layers(self, values: Values, request: gr.Request) -> Iterator[Update]:
        model, conversation = self._model(values)
        off = self._layers_off(values, model, conversation)
        layers: Update = {self.fields.settings[0].layers_off: format_layers(off)}
        for update in self.chat.adjust(0, request, conversation.with_layers_off(off)):
            yield {**layers, **update}

    def _model(self, values: Values) -> tuple[ComparisonModel, Conversation]:
        """The base with the first adapter, and the conversation."""
        conversation = self.fields.read(values)
        if not conversation.adapters:
            raise EngineError(
                tr("No adapter is chosen."), tr("Choose one above, then ask something.")
            )
        model = conversation.model(self.engine)
        return model.with_adapters(conversation.adapters[:1]), conversation

    def _column(self, values: Values, conversation: Conversation) -> str:
        """The column whose answer is analysed."""
        return BASE_COLUMN if values[self.parts.whose] == BASE else conversation.adapters[0]

    def _layers_off(
        self, values: Values, model: ComparisonModel, conversation: Conversation
    ) -> frozenset[int]:
        all_layers = frozenset(model.adapter_layers(conversation.adapters[0]))
        return all_layers - frozenset(values[self.parts.layers_on])

    def _without_layers(self) -> Update:
        """The part on strength and layers, empty."""
        return {
            self.parts.curve: "",
            self.parts.layers: "",
            self.parts.layers_on: gr.CheckboxGroup(visible=False),
            self.parts.without_layers: "",
            self.parts.use_layers: gr.Button(visible=False),
        }
