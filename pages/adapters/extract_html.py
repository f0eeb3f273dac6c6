"""What an extraction came to, for the person: its numbers, modules, losses, and next steps.

Knows no component and no handler.
"""

from __future__ import annotations

from pathlib import Path

from lora_engine.adapter_operations import ExtractionLosses, ExtractReport
from lora_engine.language import tr, translatable
from pages import ADAPTERS, COMPARE, SPECTRUM
from pages.adapters.writing import next_steps_html, rank_span
from pages.shared import layout
from pages.shared.live import Column, table_value

COLUMNS = (
    Column(translatable("module")),
    Column(translatable("held as")),
    Column(translatable("rank"), layout.count, numeric=True),
    Column(translatable("energy kept"), layout.share, numeric=True),
    Column(translatable("error"), layout.number, numeric=True),
    Column(translatable("rounding below"), layout.number, numeric=True),
)


def summary_html(done: ExtractReport) -> str:
    """Size, energy, error, ranks, and how many parameters go along whole."""
    ranks = [one.rank for one in done.modules]
    low, high = min(ranks), max(ranks)
    return layout.tiles_html(
        [
            (
                tr("Size"),
                layout.byte_size(done.bytes),
                tr("modules as factors: {count}", count=f"{len(done.modules):,}"),
            ),
            (tr("Energy kept"), layout.share(done.energy), tr("of Σσ² over all factored modules")),
            (tr("Error"), layout.number(done.error), tr("‖ΔW − ΔW_k‖ over all of them")),
            (
                tr("Rank"),
                rank_span(low, high),
                tr("of the changed matrices"),
            ),
            (tr("Saved whole"), layout.count(len(done.whole)), tr("what low rank cannot hold")),
        ]
    )


def modules_value(done: ExtractReport) -> str:
    """Every factored matrix, then every parameter that is saved whole."""
    factored = [
        (one.name, tr("factors"), one.rank, one.energy, one.error, one.noise_edge)
        for one in done.modules
    ]
    whole = [(name, tr("whole"), None, None, None, None) for name in done.whole]
    return table_value(COLUMNS, [*factored, *whole])


def losses_html(found: ExtractionLosses) -> str:
    """The three losses side by side, and how much of the way from base to tuned is kept."""
    on = tr("nats a token, on {count} rows", count=f"{found.rows:,}")
    way = found.base - found.tuned
    kept = layout.share((found.base - found.extracted) / way) if way else tr("nothing")
    return layout.tiles_html(
        [
            (tr("Loss, base"), layout.number(found.base), on),
            (tr("Loss, tuned"), layout.number(found.tuned), on),
            (tr("Loss, base with adapter"), layout.number(found.extracted), on),
            (tr("Of what tuning changed"), kept, tr("(base − with adapter) / (base − tuned)")),
        ]
    )


def next_html(adapter: Path) -> str:
    """To the written adapter in the library, its spectrum, and Compare."""
    state = {"adapter": str(adapter)}
    return next_steps_html(
        [
            (ADAPTERS, tr("Open it"), {**state, "tab": "about"}),
            (SPECTRUM, tr("See its spectrum"), state),
            (COMPARE, tr("Compare it with its base"), state),
        ]
    )
