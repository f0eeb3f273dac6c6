"""The compare page: the base and the adapted model answer the same question, side by side.

All columns come from one loaded base and one batch. The page is put together here; what each
part does stands in a module of its own.
"""

from __future__ import annotations

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.compare.sampling import Sampling
from lora_engine.engine import Engine
from pages import (
    COMPARE,
    compare_chat,
    compare_choice,
    compare_forgetting,
    compare_look,
    compare_set,
    compare_vote,
    forms,
    layout,
)
from pages.compare_chat import SUGGESTIONS, Chat
from pages.compare_talk import COLUMNS, MAX_ADAPTERS, Talk, column, memory_field, strength
from pages.wiring import expose, wire

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
            strengths = [strength(index) for index in range(MAX_ADAPTERS)]
        chat = Chat()
        with gr.Accordion("Sampling, system prompt and memory", open=False):
            with gr.Row():
                system = gr.Textbox("", label="System prompt", lines=2, elem_id="system-prompt")
                memory = memory_field()
            with gr.Row():
                sampling = forms.number_fields(Sampling)
        talk = Talk(adapters, base, system, memory, sampling, strengths, columns)
        compare_chat.connect(engine, talk, chat)
        compare_look.section(engine, talk)
        compare_vote.section(engine, talk)
        compare_set.section(engine, talk)
        compare_forgetting.section(engine, talk)
        layout.how_this_works(HELP)
        _connect_choices(engine, blocks, talk, chat, note)
        expose(_compare_endpoint(engine), api_name="compare")
    return blocks


def _connect_choices(
    engine: Engine, blocks: gr.Blocks, talk: Talk, chat: Chat, note: gr.HTML
) -> None:
    """What the page opens on, and what another choice of adapters changes."""

    def open_page(request: gr.Request) -> tuple:
        chosen = compare_choice.wanted_adapters(engine, request)
        base = layout.state_of(request, "base") or compare_choice.base_of(engine, chosen)
        return (
            gr.Dropdown(choices=compare_choice.adapter_choices(engine), value=chosen),
            gr.Dropdown(choices=engine.base_model_names(), value=base),
            compare_choice.note(engine),
            gr.Textbox(interactive=True),
            gr.Button(interactive=True),
            *following(chosen),
        )

    def choose(chosen: list[str]) -> tuple:
        return (compare_choice.base_of(engine, chosen), *following(chosen))

    def following(chosen: list[str]) -> list:
        buttons = compare_choice.suggestion_buttons(engine, chosen, SUGGESTIONS)
        strengths = compare_choice.strength_sliders(engine, chosen)
        return [*buttons, *strengths, *compare_choice.titled(engine, chosen)]

    adapters, base, problem = talk.adapters, talk.base, chat.problem
    changed = [*chat.suggestions, *talk.strengths, *talk.columns]
    wire([adapters.input], choose, [adapters], [base, *changed], problem=problem)
    opened = [adapters, base, note, chat.prompt, chat.send, *changed]
    wire([blocks.load], open_page, [], opened, problem=problem)
    adapters.input(
        fn=None, inputs=[adapters], js=layout.remember_js("adapter"), api_visibility="private"
    )


def _compare_endpoint(engine: Engine):
    def compare(
        prompt: str, adapters: list[str], base: str = STARTER, max_new_tokens: int = 64,
        seed: int = 0,
    ) -> dict:  # fmt: skip
        """The base's and each adapter's answer to one prompt."""
        sampling = Sampling(max_new_tokens=max_new_tokens, seed=seed)
        return engine.compare(base, adapters, [prompt], sampling).as_json()

    return compare
