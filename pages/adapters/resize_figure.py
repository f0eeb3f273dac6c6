"""An adapter's possible sizes: kept energy against bytes, and the measured loss at each rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_engine.adapter_operations import HeldOutAtRanks, ResizeCurve, ResizePoint
from lora_engine.language import tr
from pages.shared import figures, layout

UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def curve_figure(curve: ResizeCurve) -> figures.Figure:
    """Kept energy against bytes: one rank for all, one energy, one threshold, and the choice.

    `layout.meta.points` has every point with its words, for `static/resize_curve.js`.
    """
    kinds = {
        "rank": (tr("one rank"), curve.ranks, figures.ACCENT),
        "energy": (tr("energy in each module"), curve.energies, figures.THIRD),
        "threshold": (tr("one threshold"), curve.thresholds, figures.SECOND),
    }
    data = []
    for name, points, colour in kinds.values():
        x, y = [one.bytes for one in points], [one.energy for one in points]
        data.append(figures.line(name, x, y, colour, width=2))
    chosen = {
        "type": "scatter", "mode": "markers", "name": tr("chosen"), "x": [], "y": [],
        "marker": {
            "color": figures.TEXT, "size": 11, "symbol": "circle-open", "line": {"width": 3},
        },
        "hoverinfo": "skip",
    }  # fmt: skip
    half = curve.ranks[(len(curve.ranks) - 1) // 2]
    drawn = figures.layout(
        description=tr(
            "At rank {rank} {share} of the energy is kept in {size}.",
            rank=f"{half.rank:,}",
            share=layout.share(half.energy),
            size=layout.byte_size(half.bytes),
        ),
        x_title=tr("size of the weights"),
        y_title=tr("energy kept"),
        xaxis=_size_axis(max(one.bytes for one in curve.ranks)),
        yaxis={"tickformat": ".0%"},
        hovermode="closest",
    )
    drawn["meta"]["points"] = {kind: _points(points) for kind, (_, points, _) in kinds.items()}
    return {"data": [*data, chosen], "layout": drawn}


def losses_figure(losses: HeldOutAtRanks) -> figures.Figure:
    """Held-out loss over rank, with that of the base and of the adapter as it is as lines."""
    ranks = [one.rank for one in losses.ranks]
    least, best = ranks[0], min(losses.ranks, key=lambda one: one.loss)
    ends = [least / 1.2, ranks[-1] * 1.2]
    measured = figures.line(
        tr("at this rank"), ranks, [one.loss for one in losses.ranks], figures.ACCENT, width=2.5
    )
    lines = [
        (tr("the base alone"), losses.base_loss, figures.MUTED),
        (tr("the adapter as it is"), losses.loss, figures.SECOND),
    ]
    data = [{**measured, "mode": "lines+markers", "marker": {"size": 8}}]
    for name, loss, colour in lines:
        level = figures.line(name, ends, [loss, loss], colour, width=1.5)
        data.append({**level, "line": {**level["line"], "dash": "dash"}})
    drawn = figures.layout(
        description=tr(
            "The lowest loss is {least}, at rank {rank}; the base's is {base}, that of the "
            "adapter as it is {own}.",
            least=layout.number(best.loss),
            rank=f"{best.rank:,}",
            base=layout.number(losses.base_loss),
            own=layout.number(losses.loss),
        ),
        x_title=tr("rank"),
        y_title=tr("held-out loss (nats a token)"),
        xaxis={"type": "log", "tickvals": ranks, "ticktext": [f"{rank:,}" for rank in ranks]},
        hovermode="closest",
    )
    return {"data": data, "layout": drawn}


def _size_axis(most: int) -> dict:
    """Ticks in the units in which the page names sizes, which Plotly's own are not."""
    size, unit = next(((size, unit) for size, unit in UNITS if most >= size), UNITS[-1])
    rough = most / size / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    ticks = [step * count for count in range(1, math.floor(most / size / step) + 1)]
    return {
        "tickvals": [tick * size for tick in ticks],
        "ticktext": [f"{tick:g} {unit}" for tick in ticks],
    }


def _points(points: Sequence[ResizePoint]) -> list[dict]:
    return [
        {
            "choice": one.choice,
            "bytes": one.bytes,
            "energy": one.energy,
            "tiles": [
                [tr("Size"), layout.byte_size(one.bytes), tr("of the weights file")],
                [tr("Energy kept"), layout.share(one.energy), tr("of Σσ² over all modules")],
                [tr("Rank"), f"{one.rank:,}", tr("the largest of a module")],
            ],
        }
        for one in points
    ]
