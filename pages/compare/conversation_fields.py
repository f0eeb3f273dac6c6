"""The components that hold the conversation, and what the page's parts change in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.compare.generate import (
    AS_TRAINED,
    AdapterSettings,
    RemoteServers,
    Sampling,
    format_layers,
    parse_layers,
)
from lora_engine.compare.prompts import Mode
from lora_engine.compare.sessions import SessionRevision
from lora_engine.language import tr, translatable
from pages.compare.conversation import (
    ADAPTER,
    BASE,
    OWN,
    Conversation,
    History,
    column_names,
    plain_messages,
)
from pages.shared import forms, layout
from pages.shared.adapter_choices import MAX_COMPARED
from pages.shared.wiring import Update

ASK_AS = [
    (translatable("as the adapters were trained"), "auto"),
    (translatable("as a chat"), "chat"),
    (translatable("continue the text"), "completion"),
]
COLUMNS = MAX_COMPARED + 2  # the base, the adapters, another server
MEMORIES = [
    (translatable("its own answers"), OWN),
    (translatable("the base's answers"), BASE),
    (translatable("the first adapter's answers"), ADAPTER),
]
Values = Mapping[Component, Any]  # what the components of an event's inputs hold


@dataclass(frozen=True)
class ShownSettings:
    """How one adapter is used. fixed: why that cannot be changed; empty where it can."""

    title: str
    settings: AdapterSettings
    fixed: str = ""


@dataclass(frozen=True)
class SettingsFields:
    """How one adapter is used: its strength, and the layers where it is switched off."""

    strength: gr.Slider
    layers_off: gr.Textbox


@dataclass(frozen=True)
class ConversationFields:
    """Who is asked and how, every column's messages, and what stands under the columns.

    tabs: the answers and the tools.

    ask_as: the person's choice of how every column is asked. settings: one for each adapter there
    can be. servers: where the other server is by the id in
    `server`, with its key. session: the revision under which the conversation is saved; links:
    the links to it.
    """

    adapters: gr.Dropdown
    base: gr.Dropdown
    ask_as: gr.Radio
    system: gr.Textbox
    memory: gr.Dropdown
    sampling: Mapping[str, Component]
    settings: Sequence[SettingsFields]
    servers: RemoteServers
    server: gr.Textbox
    session: gr.Textbox
    tabs: gr.Tabs
    columns: Sequence[gr.Chatbot]
    status: gr.HTML
    links: gr.HTML

    @property
    def inputs(self) -> set[Component]:
        """What `read` needs of the components."""
        asked = {self.adapters, self.base, self.ask_as, self.system, self.memory}
        single = {*asked, self.server, self.session}
        return {*single, *self.sampling.values(), *self.settings_components, *self.columns}

    @property
    def settings_components(self) -> list[Component]:
        """What `show_settings` changes."""
        return [part for one in self.settings for part in (one.strength, one.layers_off)]

    @property
    def answers(self) -> list[Component]:
        """What begins anew with another base or adapter: columns, status, and where it is saved."""
        return [*self.columns, self.status, self.session, self.links]

    def read(self, values: Values) -> Conversation:
        """The conversation in the values of `inputs`.

        Raises EngineError for sampling fields or layers that are wrong.
        """
        adapters = list(values[self.adapters] or [])
        server, session = values[self.server], values[self.session]
        columns = self.columns_of(adapters, bool(server))
        return Conversation(
            adapters=adapters,
            base=values[self.base],
            ask_as=values[self.ask_as],
            system=values[self.system] or "",
            memory=values[self.memory],
            sampling=forms.numbers_read(
                Sampling, [values[field] for field in self.sampling.values()]
            ),
            settings=[
                AdapterSettings(
                    float(values[one.strength]), parse_layers(values[one.layers_off] or "")
                )
                for one, _ in zip(self.settings, adapters, strict=False)
            ],
            server=self.servers.get(server) if server else None,
            session=SessionRevision.parse(session) if session else None,
            histories={name: plain_messages(values[box]) for name, box in columns.items()},
        )

    def columns_of(self, adapters: Sequence[str], with_server: bool) -> dict[str, gr.Chatbot]:
        """The component of each column that is shown, by the column's name."""
        return dict(zip(column_names(adapters, with_server), self.columns, strict=False))

    def show_columns(self, shown: Sequence[gr.Chatbot]) -> Update:
        """These columns, as `column_update` makes them; the rest emptied and hidden."""
        hidden = [gr.Chatbot(value=[], visible=False)] * (COLUMNS - len(shown))
        return dict(zip(self.columns, [*shown, *hidden], strict=True))

    def show_settings(self, adapters: Sequence[ShownSettings]) -> Update:
        """The settings of these adapters; the fields of the rest hidden."""
        update: Update = {}
        for one, shown in zip(self.settings, adapters, strict=False):
            update |= {
                one.strength: gr.Slider(
                    value=shown.settings.strength,
                    label=tr("Strength of {name}", name=shown.title),
                    info=shown.fixed or tr("0 is the base, 1 as trained."),
                    interactive=not shown.fixed,
                    visible=True,
                ),
                one.layers_off: gr.Textbox(
                    format_layers(shown.settings.layers_off),
                    label=tr("Layers off in {name}", name=shown.title),
                    interactive=not shown.fixed,
                    visible=True,
                ),
            }
        for one in self.settings[len(adapters) :]:
            update |= {
                one.strength: gr.Slider(value=AS_TRAINED.strength, visible=False),
                one.layers_off: gr.Textbox("", visible=False),
            }
        return update


def column_box(index: int) -> gr.Chatbot:
    """One column of the conversation; what a model writes is rendered, its HTML is not."""
    return gr.Chatbot(
        label=tr("Base") if index == 0 else tr("Adapter"),
        autoscroll=False,  # what the page opens on begins with its question
        visible=index < 2,
        height="100%",
        elem_id=f"column-{index}",
        buttons=["copy"],
        feedback_options=None,
        layout="bubble",
        allow_tags=False,
        latex_delimiters=layout.LATEX,
        min_width=0,
        editable="user",
    )


def column_update(
    history: History,
    label: str,
    asked_otherwise: bool = False,
    mode: Mode = "chat",
    about: str = "",
    follows: bool = True,
) -> gr.Chatbot:
    """A column that is shown; its label is red for an adapter asked otherwise than it was trained.

    mode: a text that is continued stands as it is, without Markdown. about: what stands in the
    column while nothing was asked; escaped here. follows: the newest words stay in sight, else
    the first ones.
    """
    messages: list[Any] = list(history)
    red = tr("{title}: asked otherwise than trained", title=label) if asked_otherwise else label
    return gr.Chatbot(
        value=messages,
        label=red,
        visible=True,
        autoscroll=follows,
        elem_classes=["rs-other-template"] if asked_otherwise else [],
        render_markdown=mode == "chat",
        placeholder=f'<p class="rs-about">{escape(" ".join(about.split()))}</p>',
    )


def strength_field(index: int) -> gr.Slider:
    """An adapter's strength; its column answers the last question again when it changes."""
    return gr.Slider(
        0.0,
        2.0,
        value=1.0,
        step=0.05,
        label=tr("Strength"),
        visible=False,
        min_width=0,
        elem_id=f"strength-{index}",
        elem_classes="rs-strength",
    )


def layers_off_field(index: int) -> gr.Textbox:
    """The layers where an adapter is switched off; the same happens when they change."""
    return gr.Textbox(
        "",
        label=tr("Layers off"),
        visible=False,
        min_width=200,
        placeholder=tr("none"),
        info=tr("Such as 0-3, 7. Enter answers the last question again."),
        max_lines=1,
        elem_id=f"layers-off-{index}",
    )


def sampling_fields() -> dict[str, Component]:
    """A number field for each setting of the sampling, by its name."""
    return dict(zip(Sampling.model_fields, forms.number_fields(Sampling), strict=True))


def ask_as_field() -> gr.Radio:
    return gr.Radio(
        in_words(ASK_AS),
        value="auto",
        label=tr("How every column is asked"),
        elem_id="ask-as",
        info=tr("As a chat in its template, or with a text to continue."),
    )


def memory_field() -> gr.Dropdown:
    return gr.Dropdown(
        in_words(MEMORIES),
        value=OWN,
        label=tr("Each column goes on from"),
        elem_id="memory",
        info=tr("What a column takes for its own earlier answers when it is asked again."),
    )


def system_field() -> gr.Textbox:
    return gr.Textbox("", label=tr("System prompt"), lines=2, elem_id="system-prompt")


def hidden_field(name: str) -> gr.Textbox:
    """An id that the page carries along without showing it."""
    return gr.Textbox("", visible="hidden", elem_id=name, label=name)


def in_words(choices: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The choices of a field, each label in the present language."""
    return [(tr(label), value) for label, value in choices]
