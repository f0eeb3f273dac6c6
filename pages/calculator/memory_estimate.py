"""What the calculator page shows of a run's memory: items, cards, and what makes it fit."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_engine import calculator
from pages.calculator.form import Selection
from pages.shared import figures, layout, live
from pages.shared.wiring import Update

TILE_NAMES = ("peak memory", "fits", "largest batch", "longest row")
ITEM_COLUMNS = (
    live.Column("item"),
    live.Column("GiB", layout.number, numeric=True),
    live.Column("formula"),
)
CARD_COLUMNS = (
    live.Column("card"),
    live.Column("GiB", layout.number, numeric=True),
    live.Column("fits"),
    live.Column("GiB left", layout.number, numeric=True),
)


class MemoryPart:
    """The peak in four numbers, as a bar, and in two tables."""

    def __init__(self) -> None:
        self.tiles = gr.HTML(layout.tiles_html([(n, "…", "") for n in TILE_NAMES]), js_on_load="")
        self.bar = live.live_plot(label="Peak memory by item", height=210, elem_id="memory-bar")
        self.advice = gr.HTML(js_on_load="")
        with gr.Accordion("Every item with its formula", open=False):
            self.items = live.live_table(label="Memory by item", file_name="memory.csv")
        with gr.Accordion("Which card fits", open=False):
            self.cards = live.live_table(label="Cards", file_name="cards.csv")
        self.outputs = [self.tiles, self.bar, self.advice, self.items, self.cards]

    def update(self, selection: Selection) -> Update:
        request, card = selection.request, selection.card
        estimate = calculator.estimate_memory(request)
        items = [(item.name, item.gib) for item in estimate.items]
        formulas = [(item.name, item.gib, item.formula) for item in estimate.items]
        verdicts = [
            (found.card, found.memory_gib, "yes" if found.fits else "no", found.free_gib)
            for found in calculator.verdicts(estimate)
        ]
        return {
            self.tiles: layout.tiles_html(_tiles(estimate, card)),
            self.bar: figures.to_json(figures.memory_bar(items, card.name, card.memory_gib)),
            self.advice: layout.notes_html([*estimate.warnings, *_advice(request, card)]),
            self.items: live.table_value(ITEM_COLUMNS, formulas),
            self.cards: live.table_value(CARD_COLUMNS, verdicts),
        }


def _tiles(
    estimate: calculator.MemoryEstimate, card: calculator.Card
) -> list[tuple[str, str, str]]:
    largest = calculator.largest_that_fits(estimate.request, card.memory_gib)
    left = card.memory_gib - estimate.total_gib
    spare = f"{layout.number(abs(left))} GiB {'left' if left >= 0 else 'missing'} on {card.name}"
    return [
        ("peak memory", f"{layout.number(estimate.total_gib)} GiB", "of the graphics card"),
        ("fits", "yes" if left >= 0 else "no", spare),
        ("largest batch", layout.count(largest.batch_size), "at this row length"),
        ("longest row", layout.count(largest.seq_length), "tokens, at this batch"),
    ]


def _advice(request: calculator.MemoryRequest, card: calculator.Card) -> list[str]:
    """The smallest change after which it fits the card, in words; nothing where it fits."""
    found = calculator.make_it_fit(request, card.memory_gib)
    steps = [
        f"{change.what} ({change.harm}): {layout.number(change.total_gib)} GiB"
        for change in found.changes
    ]
    if not found.fits:
        return [f"Nothing tried here makes it fit {card.name}. Closest: {'; then '.join(steps)}."]
    return [f"To make it fit {card.name}: {'; then '.join(steps)}."] if steps else []


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
