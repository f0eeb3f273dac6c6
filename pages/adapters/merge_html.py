"""What a merge came to, for the person: its numbers, both bases of a quantized one, next steps.

Knows no component and no handler.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from lora_engine.adapter_operations import MergeReport
from pages import COMPARE, TRAIN
from pages.adapters.writing import next_steps_html
from pages.shared import layout
from pages.shared.live import Column, table_value

WEIGHTS = {
    "original": "the original 16- or 32-bit weights",
    "dequantized": "the quantized weights, widened",
}
VARIANT_COLUMNS = (
    Column("merged into", lambda weights: WEIGHTS[weights]),
    Column("kept", lambda kept: "yes" if kept else "no"),
    Column("largest logit difference", layout.number, numeric=True),
    Column("KL, nats a token", layout.number, numeric=True),
    Column("loss, nats a token", layout.number, numeric=True),
)


def summary_html(done: MergeReport) -> str:
    """Size and changed tensors; with a proof, the differences and the three losses."""
    files = f"{len(done.files)} file{'s' if len(done.files) != 1 else ''}"
    tiles = [
        ("Size", layout.byte_size(done.bytes), f"{done.dtype}, {files}"),
        ("Tensors changed", layout.count(len(done.changed)), "all others are the base's"),
    ]
    return layout.tiles_html([*tiles, *_proof_tiles(done)])


def _proof_tiles(done: MergeReport) -> list[tuple[str, str, str]]:
    """Empty where nothing was measured."""
    apart, kl, base = done.max_logit_difference, done.kl, done.base_loss
    before, after = done.unmerged_loss, done.merged_loss
    if apart is None or kl is None or base is None or before is None or after is None:
        return []
    rows = f"{done.positions:,} positions of {done.rows:,} {done.rows_from} rows"
    sign = "−" if after < before else "+"
    difference = f"{sign}{layout.number(abs(after - before))} from base with adapter"
    return [
        ("Largest logit difference", layout.number(apart), rows),
        ("KL", layout.number(kl), "nats a token, unmerged against merged"),
        ("Loss, base", layout.number(base), "nats a token"),
        ("Loss, base with adapter", layout.number(before), "nats a token"),
        ("Loss, merged", layout.number(after), difference),
    ]


def variants_value(done: MergeReport) -> str:
    """Each base that was merged into as a row; empty where there is one alone."""
    rows = [
        (one.weights, one.kept, one.proof.max_logit_difference, one.proof.kl, one.proof.loss)
        for one in done.variants
    ]
    return table_value(VARIANT_COLUMNS, rows) if rows else ""


def next_html(name: str, folder: Path) -> str:
    """Where it is, and the way to Train and Compare with the merged model as their base."""
    words = f"A base model called {name}, in {folder}."
    links = next_steps_html(
        [
            (TRAIN, "Use it as a base", {"base_model": name}),
            (COMPARE, "Compare with it", {"base": name}),
        ]
    )
    return f'<p class="rs-adapter-words">{escape(words)}</p>{links}'
