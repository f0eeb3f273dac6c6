"""Which adapters and which base are asked: from the page's address or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.compare.generate import AS_TRAINED, BASE_COLUMN, RemoteServer
from lora_engine.compare.prompts import AskAs, SampledAnswers, suggested_prompts
from lora_engine.engine import Engine
from lora_engine.language import tr
from pages.compare.column_warnings import mismatch_badges
from pages.compare.conversation import History, column_names, column_title, sampled_message
from pages.compare.conversation_fields import (
    ConversationFields,
    ShownSettings,
    column_update,
)
from pages.shared import layout
from pages.shared.adapter_choices import MAX_COMPARED, adapter_key
from pages.shared.wiring import Update


def adapter_field(engine: Engine) -> gr.Dropdown:
    return gr.Dropdown(
        adapter_choices(engine),
        multiselect=True,
        max_choices=MAX_COMPARED,
        label=tr("Adapters"),
        info=tr("Up to three, each in a column beside the base."),
        elem_id="adapters",
        scale=2,
        min_width=260,
    )


def base_field(engine: Engine) -> gr.Dropdown:
    return gr.Dropdown(
        engine.base_models.names(),
        value=STARTER,
        allow_custom_value=True,
        label=tr("Base model"),
        info=tr("The one they were trained on."),
        elem_id="base-model",
        scale=1,
        min_width=220,
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


def begin_anew(
    engine: Engine, fields: ConversationFields, asked: Asked, noted: SampledAnswers | None = None
) -> Update:
    """Every column emptied and named, nothing saved, and what does not fit under the columns.

    noted: a question that the runs of the adapters answered; the columns show it.
    """
    who = asked.base, asked.adapters, asked.ask_as
    wrong = engine.compare.check_compatibility(*who).other_template
    mode = engine.compare.form(*who).mode
    histories = {} if noted is None else _noted_histories(asked.adapters, noted)
    columns = [
        column_update(
            histories.get(name, []),
            column_title(engine, name),
            name in wrong,
            mode,
            _about(engine, name, asked.base),
            follows=not histories,
        )
        for name in column_names(asked.adapters)
    ]
    if asked.server:
        columns.append(column_update([], asked.server.title, mode=mode, about=asked.server.title))
    whence = "" if noted is None else _noted_html(engine, asked.adapters, noted)
    return {
        **fields.show_columns(columns),
        fields.status: mismatch_html(engine, *who) + whence,
        fields.session: "",
        fields.links: "",
    }


def open_answered(engine: Engine, fields: ConversationFields, asked: Asked) -> Update:
    """As `begin_anew`, on a question that the adapters' runs have answered, where there is one."""
    is_theirs = asked.base == base_of(engine, asked.adapters)
    noted = engine.compare.sampled(asked.adapters) if is_theirs else None
    return begin_anew(engine, fields, asked, noted)


def _noted_histories(adapters: Sequence[str], noted: SampledAnswers) -> dict[str, History]:
    answers = zip(column_names(adapters), [noted.base, *noted.adapters], strict=True)
    return {
        name: [sampled_message("user", noted.prompt), sampled_message("assistant", text)]
        for name, text in answers
    }


def _noted_html(engine: Engine, adapters: Sequence[str], noted: SampledAnswers) -> str:
    """Where the answers that the page opens on come from."""
    whens = [tr("before the first step")]
    whens += [tr("after step {step}", step=f"{step:,}") for step in noted.steps]
    lines = "".join(
        f"<li><strong>{escape(column_title(engine, name))}</strong> {escape(when)}</li>"
        for name, when in zip(column_names(adapters), whens, strict=True)
    )
    words = tr(
        "The run noted these answers as it trained. Retry answers the question here; your own "
        "question begins anew."
    )
    return f'<ul class="rs-status">{lines}</ul><p class="rs-noted">{escape(words)}</p>'


def _about(engine: Engine, column: str, base: str) -> str:
    """What a column is, while nothing was asked."""
    if column == BASE_COLUMN:
        return tr("{base} without any adapter", base=base)
    one = engine.adapters.get(column)
    return tr("{base} with {adapter}: {size}", base=base, adapter=one.name, size=one.size)


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
