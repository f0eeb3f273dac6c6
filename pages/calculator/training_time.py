"""How much arithmetic the chosen run is, and how long this machine would take for it."""

from __future__ import annotations

from lora_engine import calculator
from pages.calculator.form import Selection
from pages.shared import layout


def view(selection: Selection) -> str:
    profile = calculator.read_profile(selection.source, selection.method)
    work = calculator.estimate_work(profile, selection.request, selection.rows, selection.epochs)
    device = calculator.device_here()
    rate = calculator.matmul_flops_per_second(device)
    share = calculator.SHARE_REACHED
    where = "graphics card" if device == "cuda" else "processor"
    tiles = [
        ("steps", layout.count(work.steps), "optimizer steps"),
        ("tokens", layout.short_count(work.tokens), "passed in all"),
        ("operations", f"{work.flops:.2e}", "floating point"),
        (
            "on this machine",
            layout.duration(calculator.seconds_here(work.flops, device)),
            f"about, at {share:.0%} of {layout.number(rate / 1e9)} GFLOP/s",
        ),
    ]
    note = f"{work.formula}. The rate is a matrix product's on this {where}, measured just now."
    return layout.tiles_html(tiles) + layout.notes_html([note])
