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
from pages import COMPARE
from pages.compare import (
    adapter_choice,
    answer_analysis,
    blind_vote,
    chat,
    forgetting,
    opening,
    prompt_set,
    remote_server,
    try_classifier,
)
from pages.compare.conversation_fields import (
    COLUMNS,
    ConversationFields,
    column_box,
    hidden_field,
    memory_field,
    sampling_fields,
    settings_fields,
)
from pages.shared import layout
from pages.shared.adapter_choices import MAX_COMPARED
from pages.shared.wiring import expose

HELP = r"""
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
"""


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(COMPARE) as blocks:
        note = gr.HTML(elem_id="compare-note")
        try_classifier.section(engine, blocks)
        with gr.Row():
            adapters = adapter_choice.adapter_field(engine)
            base = adapter_choice.base_field(engine)
        with gr.Row(elem_classes="rs-columns"):
            columns = [column_box(index) for index in range(COLUMNS)]
        with gr.Row(elem_classes="rs-strengths"):
            settings = [settings_fields(index) for index in range(MAX_COMPARED)]
        chat_parts = chat.chat_fields()
        with layout.folded("Sampling, system prompt and memory"):
            with gr.Row():
                system = gr.Textbox("", label="System prompt", lines=2, elem_id="system-prompt")
                memory = memory_field()
            with gr.Row():
                sampling = sampling_fields()
        fields = ConversationFields(
            adapters=adapters,
            base=base,
            ask_as=chat_parts.ask_as,
            system=system,
            memory=memory,
            sampling=sampling,
            settings=settings,
            servers=RemoteServers(),
            server=hidden_field("server"),
            session=hidden_field("session"),
            columns=columns,
            status=chat_parts.status,
            links=chat_parts.links,
        )
        server = remote_server.server_fields()

        handlers = chat.connect(engine, fields, chat_parts)
        remote_server.connect(engine, fields, server)
        answer_analysis.section(engine, fields, handlers)
        blind_vote.section(engine, fields)
        prompt_set.section(engine, fields)
        forgetting.section(engine, fields)
        layout.how_this_works(HELP)
        opening.connect(opening.Opening(engine, fields, chat_parts, server, note), blocks)
        expose(_compare_endpoint(engine), api_name="compare")
        expose(try_classifier.classify_endpoint(engine), api_name="classify")
    return blocks


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
                f"ask_as is {str(ask_as)[:40]!r}.", f"Give one of {', '.join(get_args(AskAs))}."
            )
        sampling = Sampling(max_new_tokens=max_new_tokens, seed=seed)
        return engine.compare.answer_prompts(base, adapters, [prompt], sampling, ask_as).as_json()

    return compare
