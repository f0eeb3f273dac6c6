"""What a merge came to, for the person: its numbers, both bases of a quantized one, next steps.

Knows no component and no handler.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from lora_engine.adapter_operations import MergeReport
from lora_engine.language import tr, tr_count, translatable
from pages import COMPARE, TRAIN
from pages.adapters.writing import next_steps_html
from pages.shared import layout
from pages.shared.live import Column, table_value

WEIGHTS = {
    "original": translatable("the original 16- or 32-bit weights"),
    "dequantized": translatable("the quantized weights, widened"),
}
ROWS_FROM = {
    "given": translatable("{positions} positions of {rows} given rows"),
    "held-out": translatable("{positions} positions of {rows} held-out rows"),
    "general": translatable("{positions} positions of {rows} general rows"),
}
VARIANT_COLUMNS = (
    Column(translatable("merged into"), lambda weights: tr(WEIGHTS[weights])),
    Column(translatable("kept"), lambda kept: tr("yes") if kept else tr("no")),
    Column(translatable("largest logit difference"), layout.number, numeric=True),
    Column(translatable("KL, nats a token"), layout.number, numeric=True),
    Column(translatable("loss, nats a token"), layout.number, numeric=True),
)


def summary_html(done: MergeReport) -> str:
    """Size and changed tensors; with a proof, the differences and the three losses."""
    files = tr_count("{count} file", "{count} files", len(done.files))
    tiles = [
        (tr("Size"), layout.byte_size(done.bytes), f"{done.dtype}, {files}"),
        (tr("Tensors changed"), layout.count(len(done.changed)), tr("all others are the base's")),
    ]
    return layout.tiles_html([*tiles, *_proof_tiles(done)])


def _proof_tiles(done: MergeReport) -> list[tuple[str, str, str]]:
    """Empty where nothing was measured."""
    apart, kl, base = done.max_logit_difference, done.kl, done.base_loss
    before, after = done.unmerged_loss, done.merged_loss
    if apart is None or kl is None or base is None or before is None or after is None:
        return []
    of = ROWS_FROM.get(done.rows_from or "", ROWS_FROM["given"])
    rows = tr(of, positions=f"{done.positions:,}", rows=f"{done.rows:,}")
    sign = "−" if after < before else "+"
    difference = tr(
        "{change} from base with adapter", change=f"{sign}{layout.number(abs(after - before))}"
    )
    return [
        (tr("Largest logit difference"), layout.number(apart), rows),
        (tr("KL"), layout.number(kl), tr("nats a token, unmerged against merged")),
        (tr("Loss, base"), layout.number(base), tr("nats a token")),
        (tr("Loss, base with adapter"), layout.number(before), tr("nats a token")),
        (tr("Loss, merged"), layout.number(after), difference),
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
    words = tr("A base model called {name}, in {folder}.", name=name, folder=folder)
    links = next_steps_html(
        [
            (TRAIN, tr("Use it as a base"), {"base_model": name}),
            (COMPARE, tr("Compare with it"), {"base": name}),
        ]
    )
    return f'<p class="rs-adapter-words">{escape(words)}</p>{links}'
