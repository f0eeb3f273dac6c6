"""Who is asked: the adapters and the base on the compare page, from its address or by hand."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr
from gradio.components import Component

from lora_engine.adapters.library import AdapterSummary
from lora_engine.base_models import STARTER
from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings, format_layers
from lora_engine.compare.generate.comparison_model import BASE_COLUMN
from lora_engine.compare.generate.remote_server import RemoteServer
from lora_engine.compare.prompts.suggestions import suggested_prompts
from lora_engine.engine import Engine
from pages.compare import conversation, token_by_token
from pages.compare.conversation import MAX_ADAPTERS
from pages.shared import layout
from pages.shared.no_adapter import no_adapter_html


def adapter_field(engine: Engine) -> gr.Dropdown:
    return gr.Dropdown(
        adapter_choices(engine), multiselect=True, max_choices=MAX_ADAPTERS,
        label="Adapters", info="Up to three, each in a column beside the base.",
        elem_id="adapters", scale=2, min_width=300,
    )  # fmt: skip


def base_field(engine: Engine) -> gr.Dropdown:
    return gr.Dropdown(
        engine.base_models.names(), value=STARTER, allow_custom_value=True,
        label="Base model", info="Must be the one the adapters were trained on.",
        elem_id="base-model", scale=1, min_width=240,
    )  # fmt: skip


def wanted_adapters(engine: Engine, request: gr.Request) -> list[str]:
    """The adapters that the page's address names, else the newest one. Raises NotFound."""
    wanted = layout.state_of(request, "adapter")
    names = wanted.split(",")[:MAX_ADAPTERS] if wanted else []
    found = [_key(engine.adapters.get(name)) for name in names]
    return found or newest_adapter(engine)


def newest_adapter(engine: Engine) -> list[str]:
    return [_key(adapter) for adapter in engine.adapters.list()[:1]]


def base_of(engine: Engine, chosen: Sequence[str]) -> str:
    """The base that the first adapter was trained on."""
    base = engine.adapters.get(chosen[0]).base_model if chosen else None
    return base or STARTER


def adapter_choices(engine: Engine, chosen: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Every listed adapter, and those of `chosen` that are in a folder of their own."""
    listed = engine.adapters.list()
    known = {_key(adapter) for adapter in listed}
    return [
        (f"{adapter.name} (rank {adapter.rank}, {adapter.base_model})", _key(adapter))
        for adapter in [
            *listed,
            *(engine.adapters.get(name) for name in chosen if name not in known),
        ]
    ]


def begun(
    engine: Engine, base: str, chosen: Sequence[str], server: RemoteServer | None
) -> tuple[str, list[gr.Chatbot]]:
    """The line under the columns, red for what will not fit; every column emptied and named."""
    wrong = engine.compare.check_compatibility(base, chosen).other_template
    columns = [
        conversation.column_as([], conversation.title(engine, name), name in wrong)
        for name in (BASE_COLUMN, *chosen)
    ]
    columns += [conversation.column_as([], server.title)] if server else []
    return warned(engine, base, chosen), conversation.columns_as(columns)


def warned(engine: Engine, base: str, chosen: Sequence[str]) -> str:
    """In red, which adapters were trained on another base or with another chat template."""
    said = engine.compare.check_compatibility(base, chosen).all
    return token_by_token.mismatches(
        {conversation.title(engine, name): words for name, words in said.items()}
    )


def uses_as_trained(engine: Engine, chosen: Sequence[str]) -> list[Component]:
    """Strength 1 and every layer on for each adapter, in the order of `Talk.uses`."""
    return use_fields([(conversation.title(engine, name), AS_TRAINED) for name in chosen])


def use_fields(adapters: Sequence[tuple[str, AdapterSettings]]) -> list[Component]:
    """The strengths and the layers off of adapters by title; the other fields hidden."""
    rest = range(MAX_ADAPTERS - len(adapters))
    return [
        *(
            gr.Slider(value=use.strength, label=f"Strength of {title}", visible=True)
            for title, use in adapters
        ),
        *(gr.Slider(value=1.0, visible=False) for _ in rest),
        *(
            gr.Textbox(format_layers(use.layers_off), label=f"Layers off in {title}", visible=True)
            for title, use in adapters
        ),
        *(gr.Textbox("", visible=False) for _ in rest),
    ]


def suggestion_buttons(engine: Engine, chosen: Sequence[str], count: int) -> list[gr.Button]:
    prompts = suggested_prompts([engine.adapters.get(name).path for name in chosen])
    return [gr.Button(prompt, visible=True) for prompt in prompts[:count]]


def note(engine: Engine) -> str:
    """What to do where no adapter is trained yet."""
    if engine.adapters.list():
        return ""
    return no_adapter_html(
        engine,
        "The base answers alone until one is trained. The pirate example takes about a minute.",
    )


def _key(adapter: AdapterSummary) -> str:
    """What an adapter is called in the address and in the choices."""
    return adapter.run_id or str(adapter.path)
