"""The compare page: the base and the adapted model answer the same question, side by side.

All columns come from one loaded base and one batch. The page is put together here; what each
part does stands in a module of its own.
"""

from __future__ import annotations

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.compare.generate.remote_server import RemoteServers
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.engine import Engine
from pages import COMPARE
from pages.compare import (
    adapter_choice,
    close_look,
    forgetting,
    opening,
    prompt_set,
    remote_server,
    vote,
)
from pages.compare import chat as chat_section
from pages.compare.chat import Chat
from pages.compare.conversation import (
    COLUMNS,
    MAX_ADAPTERS,
    Talk,
    column,
    hidden_field,
    layers_off,
    memory_field,
    strength,
)
from pages.shared import forms, layout
from pages.shared.wiring import expose

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
            adapters = adapter_choice.adapter_field(engine)
            base = adapter_choice.base_field(engine)
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
            adapters, base, system, memory, sampling, strengths, off, server, session,
            RemoteServers(), columns,
        )  # fmt: skip
        does = chat_section.connect(engine, talk, chat)
        server_fields = remote_server.section(engine, talk, chat)
        close_look.section(engine, talk, does)
        vote.section(engine, talk)
        prompt_set.section(engine, talk)
        forgetting.section(engine, talk)
        layout.how_this_works(HELP)
        opening.connect(engine, blocks, talk, chat, server_fields, note)
        expose(_compare_endpoint(engine), api_name="compare")
    return blocks


def _compare_endpoint(engine: Engine):
    def compare(
        prompt: str, adapters: list[str], base: str = STARTER, max_new_tokens: int = 64,
        seed: int = 0,
    ) -> dict:  # fmt: skip
        """The base's and each adapter's answer to one prompt."""
        sampling = Sampling(max_new_tokens=max_new_tokens, seed=seed)
        return engine.compare.answer_prompts(base, adapters, [prompt], sampling).as_json()

    return compare
