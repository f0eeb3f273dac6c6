"""Data to Plotly figures, as plain dicts of `data` and `layout`; nothing is computed but pixels.

Plotly draws them in the browser (`pages.shared.live.live_plot`). The dicts are made by hand because
building and validating `graph_objects` takes longer than the rest of a page; a test validates
each of them with plotly's own classes. Colours are the CSS tokens of `static/rankscope.css`,
which the script replaces by the colours of the page's mode, so one figure serves light and dark.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.language import tr, translatable

Figure = dict[str, Any]

ACCENT = "var(--rs-accent)"
ACCENT_SOFT = "var(--rs-accent-soft)"
SECOND = "var(--rs-second)"
THIRD = "var(--rs-third)"
MUTED = "var(--rs-muted)"
FAINT = "var(--rs-faint)"
TEXT = "var(--rs-text)"
GRID = "var(--rs-grid)"
SURFACE = "var(--rs-surface)"
SERIES = (ACCENT, SECOND, THIRD, "var(--rs-fourth)", "var(--rs-fifth)", MUTED)

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'


def layout(*, description: str, x_title: str = "", y_title: str = "", **more: Any) -> Figure:
    """The layout all figures share; `more` overrides and adds, two levels deep.

    description: the figure in words, for those who cannot see it. `uirevision` is constant, so
    a zoom survives new data.
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "tickfont": {"color": MUTED},
        "automargin": True,
        "separatethousands": True,
    }
    base: Figure = {
        "font": {"family": FONT, "size": 13, "color": TEXT},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(SERIES),
        "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
        "xaxis": {**axis, "title": {"text": x_title, "font": {"size": 12, "color": MUTED}}},
        "yaxis": {**axis, "title": {"text": y_title, "font": {"size": 12, "color": MUTED}}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": SURFACE, "bordercolor": GRID, "font": {"color": TEXT}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": ACCENT},
        "uirevision": "kept",
        "meta": {"description": description},
    }
    for key, value in more.items():
        known = base.get(key)
        base[key] = {**known, **value} if isinstance(known, dict) else value
    return base


def to_json(figure: Figure) -> str:
    """The figure for a live plot. NaN and infinity become gaps: JSON has no word for them."""
    try:
        return _dumped(figure)
    except (ValueError, TypeError):  # such a number, or an array: rare, and ten times as slow
        return _dumped(_finite(figure))


def _dumped(figure: Figure) -> str:
    return json.dumps(figure, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class Drawn:
    """What the large curve of a run shows: on rows it trains on, held out, its axis; in English."""

    training: str = translatable("training loss")
    held_out: str = translatable("evaluation loss")
    axis: str = translatable("loss (nats a token)")


LOSS = Drawn()


def loss_curve(
    steps: Sequence[float],
    losses: Sequence[float],
    eval_steps: Sequence[float] = (),
    eval_losses: Sequence[float] = (),
    drawn: Drawn = LOSS,
) -> Figure:
    """Training loss as it came and smoothed, and the evaluation loss, over optimizer steps.

    drawn: what stands in the place of the losses.
    """
    training, smooth = tr(drawn.training), tr("{curve}, smoothed", curve=tr(drawn.training))
    data = [
        {**line(training, steps, losses, FAINT, width=1), "opacity": 0.75},
        line(smooth, steps, smoothed(losses), ACCENT, width=2.5),
    ]
    if len(eval_steps):
        data.append(
            {
                **line(tr(drawn.held_out), eval_steps, eval_losses, SECOND, width=2),
                "mode": "lines+markers",
                "marker": {"color": SECOND, "size": 7, "symbol": "diamond"},
            }
        )
    waiting = in_the_middle(tr("waiting for the first logged step"))
    return {
        "data": data,
        "layout": layout(
            description=_loss_in_words(steps, losses, eval_losses, drawn),
            x_title=tr("step"),
            y_title=tr(drawn.axis),
            yaxis={"rangemode": "tozero"},
            annotations=[] if len(losses) else [waiting],
        ),
    }


def memory_bar(items: Sequence[tuple[str, float]], card: str, card_gib: float) -> Figure:
    """The parts of the peak memory end to end, in GiB, and where the card's memory ends."""
    total = sum(gib for _, gib in items)
    parts = [(name, gib) for name, gib in items if gib > 0]
    colours = (*SERIES, ACCENT_SOFT, FAINT, "var(--rs-sixth)", "var(--rs-seventh)", TEXT, GRID)
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [""],
            "x": [gib],
            "marker": {"color": colours[number % len(colours)]},
            "hovertemplate": f"{name}: %{{x:.3g}} GiB<extra></extra>",
        }
        for number, (name, gib) in enumerate(parts)
    ]
    edge = {
        "type": "line",
        "x0": card_gib,
        "x1": card_gib,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": TEXT, "width": 2, "dash": "dot"},
    }
    remark = {
        "text": card,
        "x": card_gib,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": "right" if card_gib > 0.5 * total else "left",
        "showarrow": False,
        "font": {"color": TEXT, "size": 12},
    }
    return {
        "data": data,
        "layout": layout(
            description=tr(
                "{total} GiB in all; {card} has {room} GiB.",
                total=f"{total:.3g}",
                card=card,
                room=f"{card_gib:.3g}",
            ),
            barmode="stack",
            bargap=0.1,
            hovermode="closest",
            shapes=[edge],
            annotations=[remark],
            margin={"t": 24},
            xaxis={"range": [0, 1.04 * max(total, card_gib)], "ticksuffix": " GiB"},
            yaxis={"showgrid": False, "fixedrange": True},
            legend={"y": -0.35, "yanchor": "top", "traceorder": "normal"},
        ),
    }


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average without the start's bias; a gap stays a gap.

    s_t = w s_{t-1} + (1 - w) x_t, shown as s_t / (1 - w^t) (Kingma & Ba 2014, section 3).
    """
    result, average, scale = [], 0.0, 1.0
    for value in values:
        if value is None or not math.isfinite(value):
            result.append(math.nan)
            continue
        average = weight * average + (1 - weight) * value
        scale *= weight
        result.append(average / (1 - scale))
    return result


def curve(
    x: Sequence[float], y: Sequence[float], *, x_title: str, y_title: str, description: str
) -> Figure:
    """One line with its points."""
    drawn = {**line(y_title, x, y, ACCENT, width=2.5), "mode": "lines+markers"}
    return {
        "data": [drawn],
        "layout": layout(
            description=description, x_title=x_title, y_title=y_title, showlegend=False
        ),
    }


def line(name: str, x: Sequence[float], y: Sequence[float], colour: str, *, width: float) -> Figure:
    """A trace of one line; what is None or not finite is a gap."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "width": width},
        "hovertemplate": "%{y:.4g}",
        "connectgaps": False,
    }


def small_title(text: str) -> Figure:
    """A layout's title over the plot, where its margin at the top is 34."""
    place = {"x": 0, "xref": "paper", "yref": "container", "y": 0.97}
    return {"text": text, **place, "font": {"size": 13, "color": MUTED}}


def in_the_middle(text: str) -> Figure:
    """A remark where the data would be."""
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "showarrow": False,
        "font": {"color": MUTED, "size": 14},
    }


def _loss_in_words(
    steps: Sequence[float], losses: Sequence[float], eval_losses: Sequence[float], drawn: Drawn
) -> str:
    if not len(losses):
        return tr("No step has been logged yet.")
    words = tr(
        "{curve} {first} at step {start}, {last} at {end}.",
        curve=tr(drawn.training).capitalize(),
        first=f"{losses[0]:.3g}",
        start=steps[0],
        last=f"{losses[-1]:.3g}",
        end=steps[-1],
    )
    if not len(eval_losses):
        return words
    at_the_end = tr(
        "{curve} at the end {last}.",
        curve=tr(drawn.held_out).capitalize(),
        last=f"{eval_losses[-1]:.3g}",
    )
    return f"{words} {at_the_end}"


def _finite(node: Any) -> Any:
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_finite(value) for value in node]
    if hasattr(node, "tolist"):
        return _finite(node.tolist())
    return node
