"""How much arithmetic the chosen run is, and how long this machine would take for it."""

from __future__ import annotations

from html import escape

from lora_engine import calculator
from lora_engine.language import tr
from pages.calculator.form import Selection
from pages.shared import layout


def work_html(selection: Selection) -> str:
    """Steps, tokens and operations, which follow from the fields alone."""
    work = _work(selection)
    tiles = [
        (tr("steps"), layout.count(work.steps), tr("of the optimizer")),
        (tr("tokens"), layout.short_count(work.tokens), tr("passed in all")),
        (tr("operations"), f"{work.flops:.2e}", tr("floating point")),
    ]
    return layout.tiles_html(tiles)


def here_html(selection: Selection) -> str:
    """How long this machine takes, and what is not said by that; measures its speed once."""
    work, device = _work(selection), calculator.device_here()
    rate = calculator.matmul_flops_per_second(device)
    values = {
        "time": layout.duration(calculator.seconds_here(work.flops, device)),
        "share": f"{calculator.SHARE_REACHED:.0%}",
        "rate": layout.number(rate / 1e9),
        "card": selection.card.name,
    }
    said = (
        tr(
            "About {time} on the graphics card of this machine, at {share} of the {rate} GFLOP/s "
            "that it was measured to reach. {card} was not measured.",
            **values,
        )
        if device == "cuda"
        else tr(
            "About {time} on the processor of this machine, at {share} of the {rate} GFLOP/s that "
            "it was measured to reach. {card} was not measured: a graphics card is many times "
            "faster.",
            **values,
        )
    )
    return "".join(f'<p class="rs-quiet">{escape(text)}</p>' for text in (said, f"{work.formula}."))


def _work(selection: Selection) -> calculator.Work:
    profile = calculator.read_profile(selection.source, selection.method)
    return calculator.estimate_work(profile, selection.request, selection.rows, selection.epochs)
