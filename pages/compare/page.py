"""The compare page: the base and the adapted model answer the same question, side by side.

All columns come from one loaded base and one batch. The page is put together here; what each
part does stands in a module of its own.
"""

from __future__ import annotations

from typing import get_args

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.compare.generate import RemoteServers, Sampling
from lora_engine.compare.prompts import AskAs
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages import COMPARE
from pages.compare import (
    adapter_choice,
    answer_analysis,
    blind_vote,
    chat,
    forgetting,
    held_out,
    opening,
    prompt_set,
    remote_server,
    tools,
    try_classifier,
)
from pages.compare.conversation_fields import (
    COLUMNS,
    ConversationFields,
    SettingsFields,
    ask_as_field,
    column_box,
    hidden_field,
    layers_off_field,
    memory_field,
    sampling_fields,
    strength_field,
    system_field,
)
from pages.shared import layout
from pages.shared.adapter_choices import MAX_COMPARED
from pages.shared.wiring import expose

HELP = translatable(r"""
One base model is in memory. An adapter adds $\Delta W\,x = \tfrac{\alpha}{r} B A\,x$ to the output
of the layers it was trained on, for the rows of its own column alone, so all columns are answered
in one batch and adding an adapter costs megabytes, not another model.

At temperature 0 the likeliest token is always taken: the same question gives the same answer, and
what differs between the columns is the adapter alone. Above 0 all columns draw with the same
random numbers, fixed by the seed.

A question is written in the chat template that the adapters were trained with. An adapter that
learned plain text, or prompts without a template, is given your text as it stands to continue, and
so is every other column: all are asked in one way. What you write next goes on where each column
stopped.
""")


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(COMPARE) as blocks:
        with gr.Row(elem_classes="rs-who"):
            adapters = adapter_choice.adapter_field(engine)
            base = adapter_choice.base_field(engine)
        tabs = tools.tool_tabs()
        with tools.inside(tabs, tools.ANSWERS):
            columns, strengths = _columns()
            chat_parts = chat.chat_fields()
        with tools.inside(tabs, tools.SETTINGS):
            ask_as = ask_as_field()
            with gr.Row():
                system, memory = system_field(), memory_field()
            with gr.Row():
                sampling = sampling_fields()
            with gr.Row():
                layers_off = [layers_off_field(index) for index in range(MAX_COMPARED)]
        fields = ConversationFields(
            adapters=adapters,
            base=base,
            ask_as=ask_as,
            system=system,
            memory=memory,
            sampling=sampling,
            settings=[*map(SettingsFields, strengths, layers_off)],
            servers=RemoteServers(),
            server=hidden_field("server"),
            session=hidden_field("session"),
            tabs=tabs,
            columns=columns,
            status=chat_parts.status,
            links=chat_parts.links,
        )
        handlers = chat.connect(engine, fields, chat_parts)
        answer_analysis.section(engine, fields, handlers)
        blind_vote.section(engine, fields)
        prompt_set.section(engine, fields)
        with tools.inside(tabs, tools.LOSSES), gr.Row():
            with gr.Column(min_width=320):
                held_out.section(engine, fields)
            with gr.Column(min_width=320):
                forgetting.section(engine, fields)
        server = remote_server.server_fields(tabs)
        remote_server.connect(engine, fields, server)
        try_classifier.section(engine, blocks, tabs)
        layout.how_this_works(tr(HELP))
        opening.connect(opening.Opening(engine, fields, chat_parts, server), blocks)
        expose(_compare_endpoint(engine), api_name="compare")
        expose(try_classifier.classify_endpoint(engine), api_name="classify")
    return blocks


def _columns() -> tuple[list[gr.Chatbot], list[gr.Slider]]:
    """The columns side by side, each adapter's with its strength."""
    columns: list[gr.Chatbot] = []
    strengths: list[gr.Slider] = []
    with gr.Row(elem_classes="rs-columns"):
        for index in range(COLUMNS):
            with gr.Column(elem_classes="rs-column", min_width=0):
                columns.append(column_box(index))
                if 0 < index <= MAX_COMPARED:
                    strengths.append(strength_field(index - 1))
    return columns, strengths


def _compare_endpoint(engine: Engine):
    def compare(
        prompt: str,
        adapters: list[str],
        base: str = STARTER,
        max_new_tokens: int = 64,
        seed: int = 0,
        ask_as: AskAs = "auto",
    ) -> dict:
        """The base's and each adapter's answer to one prompt, or how each continues it."""
        if ask_as not in get_args(AskAs):
            raise EngineError(
                tr("ask_as is {value}.", value=f"{str(ask_as)[:40]!r}"),
                tr("Give one of {names}.", names=", ".join(get_args(AskAs))),
            )
        sampling = Sampling(max_new_tokens=max_new_tokens, seed=seed)
        return engine.compare.answer_prompts(base, adapters, [prompt], sampling, ask_as).as_json()

    return compare
