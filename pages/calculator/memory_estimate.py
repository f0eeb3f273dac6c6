"""What the calculator page shows of a run's memory: items, cards, and what makes it fit."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_engine import calculator
from lora_engine.language import tr
from pages.calculator.form import Selection
from pages.shared import figures, layout, live
from pages.shared.wiring import Update


class MemoryPart:
    """The peak in numbers and as a bar, and what makes it fit; its two tables are laid out by
    `items_table` and `cards_table`, among the others."""

    items: gr.HTML
    cards: gr.HTML

    def __init__(self) -> None:
        self.tiles = gr.HTML(js_on_load="", elem_id="memory-tiles")
        self.bar = live.live_plot(label=tr("Peak memory by item"), height=226, elem_id="memory-bar")
        self.advice = gr.HTML(js_on_load="", elem_id="memory-advice")

    def items_table(self) -> None:
        self.items = live.live_table(label=tr("Memory by item"), file_name="memory.csv")

    def cards_table(self) -> None:
        self.cards = live.live_table(label=tr("Cards"), file_name="cards.csv")

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.tiles, self.bar, self.advice, self.items, self.cards]

    def update(self, selection: Selection) -> Update:
        request, card = selection.request, selection.card
        estimate = calculator.estimate_memory(request)
        items = [(tr(item.name), item.gib) for item in estimate.items]
        formulas = [(tr(item.name), item.gib, item.formula) for item in estimate.items]
        verdicts = [
            (found.card, found.memory_gib, tr("yes" if found.fits else "no"), found.free_gib)
            for found in calculator.verdicts(estimate)
        ]
        return {
            self.tiles: layout.tiles_html(_tiles(estimate, card)),
            self.bar: figures.to_json(figures.memory_bar(items, card.name, card.memory_gib)),
            self.advice: layout.notes_html([*estimate.warnings, *_advice(request, card)]),
            self.items: live.table_value(_item_columns(), formulas),
            self.cards: live.table_value(_card_columns(), verdicts),
        }


def _item_columns() -> tuple[live.Column, ...]:
    return (
        live.Column(tr("item")),
        live.Column("GiB", layout.number, numeric=True),
        live.Column(tr("formula")),
    )


def _card_columns() -> tuple[live.Column, ...]:
    return (
        live.Column(tr("card")),
        live.Column("GiB", layout.number, numeric=True),
        live.Column(tr("fits")),
        live.Column(tr("GiB left"), layout.number, numeric=True),
    )


def _tiles(
    estimate: calculator.MemoryEstimate, card: calculator.Card
) -> list[tuple[str, str, str]]:
    largest = calculator.largest_that_fits(estimate.request, card.memory_gib)
    left = card.memory_gib - estimate.total_gib
    size, fits = layout.number(abs(left)), left >= 0
    spare = (
        tr("{size} GiB left on {card}", size=size, card=card.name)
        if fits
        else tr("{size} GiB missing on {card}", size=size, card=card.name)
    )
    tiles = [
        (tr("peak memory"), f"{layout.number(estimate.total_gib)} GiB", tr("of the graphics card")),
        (tr("fits"), tr("yes" if fits else "no"), spare),
        (tr("largest batch"), _most(largest.batch_size), tr("at this row length")),
        (tr("longest row"), _most(largest.seq_length), tr("tokens, at this batch")),
    ]
    if largest.rank is not None:
        tiles.append((tr("largest rank"), _most(largest.rank), tr("with the rest as it is")))
    return tiles


def _most(value: int) -> str:
    return layout.count(value) if value else tr("none")


def _advice(request: calculator.MemoryRequest, card: calculator.Card) -> list[str]:
    """The smallest change after which it fits the card, in words; nothing where it fits."""
    found = calculator.make_it_fit(request, card.memory_gib)
    if not found.changes and found.fits:
        return []
    steps = tr("; then ").join(
        tr(
            "{what} ({harm}): {size} GiB",
            what=tr(change.what),
            harm=tr(change.harm),
            size=layout.number(change.total_gib),
        )
        for change in found.changes
    )
    if found.fits:
        return [tr("To make it fit {card}: {steps}.", card=card.name, steps=steps)]
    return [
        tr("Nothing tried here makes it fit {card}. Closest: {steps}.", card=card.name, steps=steps)
    ]


def memory(
    preset: str,
    method: str = "lora",
    rank: int = 8,
    target_modules: str = "all-linear",
    batch_size: int = 1,
    seq_length: int = 2048,
    optimizer: str = "adamw",
    dtype: str = "bf16",
    gradient_checkpointing: bool = False,
    bits: int = 0,
) -> dict[str, Any]:
    """The peak memory of a training run on a preset model, item by item with each formula. The
    keys are those of `python -m lora_engine memory --json`."""
    options = calculator.MemoryOptions(
        method=method,
        rank=rank,
        target_modules=target_modules,
        batch_size=batch_size,
        seq_length=seq_length,
        optimizer=optimizer,
        dtype=dtype,
        gradient_checkpointing=gradient_checkpointing,
        bits=bits,
    )
    request = options.request(calculator.preset_source(preset))
    return calculator.estimate_json(calculator.estimate_memory(request))
