"""What an extraction came to, for the person: its numbers, modules, losses, and next steps.

Knows no component and no handler.
"""

from __future__ import annotations

from pathlib import Path

from lora_engine.adapter_operations import ExtractionLosses, ExtractReport
from pages import ADAPTERS, COMPARE, SPECTRUM
from pages.adapters.writing import next_steps_html
from pages.shared import layout
from pages.shared.live import Column, table_value

COLUMNS = (
    Column("module"),
    Column("held as"),
    Column("rank", layout.count, numeric=True),
    Column("energy kept", layout.share, numeric=True),
    Column("error", layout.number, numeric=True),
    Column("rounding below", layout.number, numeric=True),
)


def summary_html(done: ExtractReport) -> str:
    """Size, energy, error, ranks, and how many parameters go along whole."""
    ranks = [one.rank for one in done.modules]
    low, high = min(ranks), max(ranks)
    return layout.tiles_html(
        [
            ("Size", layout.byte_size(done.bytes), f"modules as factors: {len(done.modules):,}"),
            ("Energy kept", layout.share(done.energy), "of Σσ² over all factored modules"),
            ("Error", layout.number(done.error), "‖ΔW − ΔW_k‖ over all of them"),
            ("Rank", f"{low}" if low == high else f"{low} to {high}", "of the changed matrices"),
            ("Saved whole", layout.count(len(done.whole)), "what low rank cannot hold"),
        ]
    )


def modules_value(done: ExtractReport) -> str:
    """Every factored matrix, then every parameter that is saved whole."""
    factored = [
        (one.name, "factors", one.rank, one.energy, one.error, one.noise_edge)
        for one in done.modules
    ]
    whole = [(name, "whole", None, None, None, None) for name in done.whole]
    return table_value(COLUMNS, [*factored, *whole])


def losses_html(found: ExtractionLosses) -> str:
    """The three losses side by side, and how much of the way from base to tuned is kept."""
    on = f"nats a token, on {found.rows:,} rows"
    way = found.base - found.tuned
    kept = layout.share((found.base - found.extracted) / way) if way else "nothing"
    return layout.tiles_html(
        [
            ("Loss, base", layout.number(found.base), on),
            ("Loss, tuned", layout.number(found.tuned), on),
            ("Loss, base with adapter", layout.number(found.extracted), on),
            ("Of what tuning changed", kept, "(base − with adapter) / (base − tuned)"),
        ]
    )


def next_html(adapter: Path) -> str:
    """To the written adapter in the library, its spectrum, and Compare."""
    state = {"adapter": str(adapter)}
    return next_steps_html(
        [
            (ADAPTERS, "Open it", {**state, "tab": "about"}),
            (SPECTRUM, "See its spectrum", state),
            (COMPARE, "Compare it with its base", state),
        ]
    )
