"""The compare page: the base and the adapted model answer the same question, side by side.

All columns come from one loaded base and one batch. The page is put together here; what each
part does stands in a module of its own.
"""

from __future__ import annotations

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.compare.sampling import Sampling
from lora_engine.compare.server import Servers
from lora_engine.engine import Engine
from pages import (
    COMPARE,
    compare_chat,
    compare_choice,
    compare_forgetting,
    compare_look,
    compare_opening,
    compare_server,
    compare_set,
    compare_vote,
    forms,
    layout,
)
from pages.compare_chat import Chat
from pages.compare_talk import (
    COLUMNS,
    MAX_ADAPTERS,
    Talk,
    column,
    hidden_field,
    layers_off,
    memory_field,
    strength,
)
from pages.wiring import expose

HELP = r"""
One base model is in memory. An adapter adds $\Delta W\,x = \tfrac{\alpha}{r} B A\,x$ to the output
of the layers it was trained on, for the rows of its own column alone, so all columns are answered
in one batch and adding an adapter costs megabytes, not another model.

At temperature 0 the likeliest token is always taken: the same question gives the same answer, and
what differs between the columns is the adapter alone. Above 0 all columns draw with the same
random numbers, fixed by the seed.
"""


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(COMPARE) as blocks:
        note = gr.HTML(elem_id="compare-note")
        with gr.Row():
            adapters = compare_choice.adapter_field(engine)
            base = compare_choice.base_field(engine)
        with gr.Row(elem_classes="rs-columns"):
            columns = [column(index) for index in range(COLUMNS)]
        with gr.Row(elem_classes="rs-strengths"):
            uses = [(strength(index), layers_off(index)) for index in range(MAX_ADAPTERS)]
        strengths, off = zip(*uses, strict=True)
        chat = Chat()
        with layout.folded("Sampling, system prompt and memory"):
            with gr.Row():
                system = gr.Textbox("", label="System prompt", lines=2, elem_id="system-prompt")
                memory = memory_field()
            with gr.Row():
                sampling = forms.number_fields(Sampling)
        server, session = hidden_field("server"), hidden_field("session")
        talk = Talk(
            adapters, base, system, memory, sampling, strengths, off, server, session, Servers(),
            columns,
        )  # fmt: skip
        does = compare_chat.connect(engine, talk, chat)
        server_fields = compare_server.section(engine, talk, chat)
        compare_look.section(engine, talk, does)
        compare_vote.section(engine, talk)
        compare_set.section(engine, talk)
        compare_forgetting.section(engine, talk)
        layout.how_this_works(HELP)
        compare_opening.connect(engine, blocks, talk, chat, server_fields, note)
        expose(_compare_endpoint(engine), api_name="compare")
    return blocks


def _compare_endpoint(engine: Engine):
    def compare(
        prompt: str, adapters: list[str], base: str = STARTER, max_new_tokens: int = 64,
        seed: int = 0,
    ) -> dict:  # fmt: skip
        """The base's and each adapter's answer to one prompt."""
        sampling = Sampling(max_new_tokens=max_new_tokens, seed=seed)
        return engine.compare(base, adapters, [prompt], sampling).as_json()

    return compare
