"""The fields of the combine tab: which adapters, their weights, and how they become one.

They stand in the page's address, so that whoever went to listen finds them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from lora_engine.adapter_operations import METHODS, Method, WeightedAdapter
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages.adapters.combine_work import (
    MOST_SOURCES,
    Mixture,
    adapter_names,
    mixture,
    other_choices,
    weighted,
)
from pages.adapters.parts import opened_adapter
from pages.shared import layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.address_fields import AddressFields
from pages.shared.wiring import Update, wire

WORDS: Mapping[Method, str] = {
    "exact": translatable("exact: the weighted sum"),
    "ties": "TIES",
    "dare_ties": translatable("DARE, then TIES"),
    "dare_linear": translatable("DARE, then the sum"),
}
NO_OTHER = translatable("There is no other adapter here. Train or add one of the same base model.")


@dataclass(frozen=True)
class CombineFields:
    """opened: the page's adapter, which is the first. weights: of it, and of the others in turn."""

    opened: gr.Dropdown
    others: gr.Dropdown
    weights: tuple[gr.Number, ...]
    method: gr.Dropdown
    density: gr.Number
    seed: gr.Number
    rank: gr.Number
    note: gr.HTML

    @property
    def inputs(self) -> set[Component]:
        return {self.opened, *self._chosen}

    @property
    def _chosen(self) -> list[gr.Dropdown | gr.Number]:
        return [self.others, *self._remembered.values()]

    @property
    def _remembered(self) -> dict[str, gr.Dropdown | gr.Number]:
        """The fields by their names in the address, but for the adapters."""
        named: dict[str, gr.Dropdown | gr.Number] = {"method": self.method}
        named |= {"density": self.density, "seed": self.seed, "to": self.rank}
        return named | {f"weight{number}": one for number, one in enumerate(self.weights, 1)}

    def sources(self, given: Mapping[Component, Any]) -> tuple[WeightedAdapter, ...]:
        """The adapters that are to be combined. Raises EngineError."""
        opened = [given[self.opened]] if given[self.opened] else []
        return weighted([*opened, *given[self.others]], [given[one] for one in self.weights])

    def mixture(self, given: Mapping[Component, Any]) -> Mixture:
        """All that the fields ask for. Raises EngineError."""
        return mixture(
            self.sources(given), given[self.method], given[self.density], given[self.seed],
            given[self.rank],
        )  # fmt: skip

    def connect(
        self, engine: Engine, blocks: gr.Blocks, problem: gr.HTML, outdated: Sequence[gr.HTML]
    ) -> None:
        """Fill the fields as the page opens, and show those that the others need.

        outdated: what another choice empties, because it says what came of the one before.
        """
        handlers = _Handlers(engine, self)
        needed = [self.density, self.seed]
        changed = [field.input for field in self._chosen]
        address = AddressFields(self._remembered)
        address.remember([field.input for field in self._remembered.values()], "page_keep_mixture")
        self.others.input(
            fn=None, inputs=[self.others], js=layout.remember_js("with"),
            api_name="page_keep_sources", api_visibility="private",
        )  # fmt: skip
        gr.on(
            changed, fn=None, outputs=list(outdated), js=f"() => {[''] * len(outdated)}",
            api_name="page_forget_answers", api_visibility="private", trigger_mode="multiple",
        )  # fmt: skip
        recalled = address.recall(blocks, problem, "page_recall_mixture")
        for triggers in (recalled.then, [self.method.input]):
            wire(triggers, handlers.show_method, [self.method], needed, problem=problem)
        wire([blocks.load], handlers.open_page, [], [self.others, self.note, *self.weights],
             problem=problem)  # fmt: skip
        wire([self.others.input], handlers.show_weights, [self.opened, self.others],
             self.weights, problem=problem)  # fmt: skip


def combine_fields(opened: gr.Dropdown) -> CombineFields:
    others = gr.Dropdown(
        [], value=[], multiselect=True, max_choices=MOST_SOURCES - 1, allow_custom_value=True,
        label=tr("Combine it with"), elem_id="combine-with",
        info=tr(
            "Up to three, of the same base model: known here, or the folder of a PEFT adapter."
        ),
    )  # fmt: skip
    note = gr.HTML(js_on_load="")
    with gr.Row():
        weights = tuple(_weight(number) for number in range(1, MOST_SOURCES + 1))
    with gr.Row():
        method = gr.Dropdown(
            [(tr(WORDS[one]), one) for one in METHODS], value="exact", label=tr("Method"), scale=2,
            elem_id="combine-method", min_width=280, info=tr("How their updates become one."),
        )  # fmt: skip
        density = gr.Number(
            0.5, label=tr("Density"), step=0.1, visible=False, elem_id="combine-density",
            info=tr("The share of numbers kept."), min_width=120,
        )  # fmt: skip
        seed = gr.Number(
            0, label=tr("Seed"), precision=0, visible=False, elem_id="combine-seed", min_width=120,
            info=tr("Of the choice by chance."),
        )  # fmt: skip
        rank = gr.Number(
            0, label=tr("Reduce to rank"), elem_id="combine-rank", min_width=160,
            info=tr("0 keeps the sum of the ranks."),
        )  # fmt: skip
    return CombineFields(opened, others, weights, method, density, seed, rank, note)


def _weight(number: int) -> gr.Number:
    return gr.Number(
        1.0, label=_weight_label(number, None), step=0.1, elem_id=f"combine-weight-{number}",
        visible=number == 1, min_width=140,
    )  # fmt: skip


def _weight_label(number: int, name: str | None) -> str:
    if name:
        return tr("Weight of {name}", name=name)
    return tr("Weight of this adapter") if number == 1 else tr("Weight of adapter {n}", n=number)


@dataclass(frozen=True)
class _Handlers:
    """What the fields' events do."""

    engine: Engine
    fields: CombineFields

    def open_page(self, request: gr.Request) -> Iterator[Update]:
        """The adapters to choose from, and those that the address names. Raises NotFound."""
        opened = opened_adapter(self.engine, request)
        choices = other_choices(self.engine, opened)
        fields, key = self.fields, adapter_key(opened)
        yield {
            fields.others: gr.Dropdown(choices=choices),
            fields.note: layout.notes_html([] if choices else [tr(NO_OTHER)]),
            **self.show_weights(key, []),
        }
        named = [name for name in layout.state_of(request, "with").split(",") if name]
        keys = [adapter_key(self.engine.adapters.get(name)) for name in named]
        others = [one for one in keys if one != key][: MOST_SOURCES - 1]
        if others:
            yield {fields.others: others, **self.show_weights(key, others)}

    def show_weights(self, opened: str | None, others: list[str]) -> Update:
        """A weight for each adapter, under its name."""
        keys = [opened] if opened else []
        called = adapter_names(self.engine, [*keys, *others])
        shown = [called[key] for key in (*keys, *others)]
        return {
            field: gr.Number(
                label=_weight_label(number, shown[number - 1] if number <= len(shown) else None),
                visible=number <= max(1, len(shown)),
            )
            for number, field in enumerate(self.fields.weights, 1)
        }

    def show_method(self, method: Method) -> Update:
        """The fields that this method needs."""
        return {
            self.fields.density: gr.Number(visible=method != "exact"),
            self.fields.seed: gr.Number(visible=method.startswith("dare")),
        }
