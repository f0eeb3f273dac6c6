"""Which adapters and which base are asked: from the page's address or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.compare.generate import AS_TRAINED, RemoteServer
from lora_engine.compare.prompts import AskAs, suggested_prompts
from lora_engine.engine import Engine
from pages.compare.column_warnings import mismatch_badges
from pages.compare.conversation import column_names, column_title
from pages.compare.conversation_fields import (
    ConversationFields,
    ShownSettings,
    column_update,
)
from pages.shared import layout
from pages.shared.adapter_choices import MAX_COMPARED, adapter_key
from pages.shared.no_adapter import no_adapter_html
from pages.shared.wiring import Update


def adapter_field(engine: Engine) -> gr.Dropdown:
    return gr.Dropdown(
        adapter_choices(engine),
        multiselect=True,
        max_choices=MAX_COMPARED,
        label="Adapters",
        info="Up to three, each in a column beside the base.",
        elem_id="adapters",
        scale=2,
        min_width=300,
    )


def base_field(engine: Engine) -> gr.Dropdown:
    return gr.Dropdown(
        engine.base_models.names(),
        value=STARTER,
        allow_custom_value=True,
        label="Base model",
        info="Must be the one the adapters were trained on.",
        elem_id="base-model",
        scale=1,
        min_width=240,
    )


def adapters_in_address(engine: Engine, request: gr.Request) -> list[str]:
    """The adapters that the page's address names, else the newest one, of the base in the address
    where it names one. Classifiers answer no question. Raises NotFound."""
    named = layout.state_of(request, "adapter")
    names = named.split(",")[:MAX_COMPARED] if named else []
    summaries = [engine.adapters.get(name) for name in names]
    found = [adapter_key(one) for one in summaries if not one.classifies]
    return found or newest_adapter(engine, layout.state_of(request, "base"))


def newest_adapter(engine: Engine, base: str = "") -> list[str]:
    """The newest adapter, alone, of `base` where one is named; empty where there is none."""
    listed = (one for one in engine.adapters.list() if not one.classifies)
    fit = (one for one in listed if not base or one.base_model == base)
    return [adapter_key(adapter) for adapter in islice(fit, 1)]


def base_of(engine: Engine, adapters: Sequence[str]) -> str:
    """The base that the first adapter was trained on."""
    base = engine.adapters.get(adapters[0]).base_model if adapters else None
    return base or STARTER


def adapter_choices(engine: Engine, chosen: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Every listed adapter that answers, and those of `chosen` in a folder of their own."""
    listed = [one for one in engine.adapters.list() if not one.classifies]
    known = {adapter_key(adapter) for adapter in listed}
    others = (engine.adapters.get(name) for name in chosen if name not in known)
    return [
        (f"{adapter.name} ({adapter.size}, {adapter.base_model})", adapter_key(adapter))
        for adapter in [*listed, *others]
    ]


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how: a base, adapters, the person's choice, perhaps another server."""

    base: str
    adapters: Sequence[str]
    ask_as: AskAs = "auto"
    server: RemoteServer | None = None


def begin_anew(engine: Engine, fields: ConversationFields, asked: Asked) -> Update:
    """Every column emptied and named, nothing saved, and what does not fit under the columns."""
    who = asked.base, asked.adapters, asked.ask_as
    wrong = engine.compare.check_compatibility(*who).other_template
    mode = engine.compare.form(*who).mode
    columns = [
        column_update([], column_title(engine, name), name in wrong, mode)
        for name in column_names(asked.adapters)
    ]
    columns += [column_update([], asked.server.title, mode=mode)] if asked.server else []
    return {
        **fields.show_columns(columns),
        fields.status: mismatch_html(engine, *who),
        fields.session: "",
        fields.links: "",
    }


def mismatch_html(engine: Engine, base: str, adapters: Sequence[str], ask_as: AskAs) -> str:
    """In red, which adapters were trained on another base, or otherwise than they are asked."""
    found = engine.compare.check_compatibility(base, adapters, ask_as).all
    return mismatch_badges({column_title(engine, name): words for name, words in found.items()})


def show_as_trained(engine: Engine, fields: ConversationFields, adapters: Sequence[str]) -> Update:
    """Strength 1 and every layer on, for each adapter."""
    fixed = engine.compare.fixed(adapters)
    return fields.show_settings(
        [
            ShownSettings(column_title(engine, name), AS_TRAINED, fixed.get(name, ""))
            for name in adapters
        ]
    )


def show_suggestions(
    engine: Engine, buttons: Sequence[gr.Button], base: str, adapters: Sequence[str]
) -> Update:
    """A question on each button, of the kind that the adapters were trained on; or the beginning
    of a text, where they continue one."""
    folders = [engine.adapters.get(name).path for name in adapters]
    continues = engine.compare.form(base, adapters).mode == "completion"
    prompts = suggested_prompts(folders, continues)
    return {
        button: gr.Button(prompt, visible=True)
        for button, prompt in zip(buttons, prompts, strict=False)
    }


def note_html(engine: Engine) -> str:
    """What to do where no adapter is trained yet."""
    if engine.adapters.list():
        return ""
    return no_adapter_html(
        engine,
        "The base answers alone until one is trained. The pirate example takes about a minute.",
    )
