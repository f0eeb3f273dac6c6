"""Figures of runs: the same measure of several runs on shared axes.

Takes numbers, gives plain dicts as `pages.shared.figures` does; knows no engine and no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.language import tr, translatable
from pages.shared import figures
from pages.shared.figures import ACCENT, FAINT, LOSS, MUTED, SECOND, SERIES, Drawn, Figure

STEP, TOKENS, TIME = "steps", "tokens", "time"
AXES = {
    STEP: translatable("step"),
    TOKENS: translatable("tokens read"),
    TIME: translatable("seconds in training"),
}
COLOURS = SERIES[:5]  # then again, dashed


@dataclass(frozen=True)
class Curve:
    """One measure of one run: x by the chosen axis; evaluations are points of their own."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    eval_x: Sequence[float] = ()
    eval_y: Sequence[float] = ()


@dataclass(frozen=True)
class Measure:
    """What a small plot shows.

    from_zero: the axis starts at nothing. is_share: it goes from 0 to 1. rare: there is no plot
    where no run has it.
    """

    key: str
    title: str
    unit: str
    from_zero: bool = True
    is_share: bool = False
    rare: bool = False


def losses(curves: Sequence[Curve], axis: str = STEP, drawn: Drawn = LOSS) -> Figure:
    """The training loss of each run, raw and smoothed, with its evaluation loss as diamonds; or
    what is `drawn` in their place.

    The first trace is the first run's raw loss.
    """
    if len(curves) == 1:
        curve = curves[0]
        figure = figures.loss_curve(curve.x, curve.y, curve.eval_x, curve.eval_y, drawn)
        figure["layout"]["xaxis"]["title"]["text"] = tr(AXES[axis])
        return figure
    data = []
    for number, curve in enumerate(curves):
        colour, dash = _look(number)
        name = curve.name if len(curve.x) else tr("{run} (no step yet)", run=curve.name)
        raw = figures.line(name, curve.x, curve.y, colour, width=1)
        smooth = figures.line(name, curve.x, figures.smoothed(curve.y), colour, width=2.5)
        smooth["line"]["dash"] = dash
        group = {"legendgroup": str(number)}
        data += [
            {**raw, **group, "opacity": 0.3, "showlegend": False, "hoverinfo": "skip"},
            {**smooth, **group},
        ]
        if len(curve.eval_x):
            data.append(
                {
                    **figures.line(
                        tr("{run}, evaluation", run=curve.name),
                        curve.eval_x,
                        curve.eval_y,
                        colour,
                        width=1,
                    ),
                    **group,
                    "mode": "lines+markers",
                    "marker": {"color": colour, "size": 7, "symbol": "diamond"},
                    "showlegend": False,
                }
            )
    return {
        "data": data,
        "layout": figures.layout(
            description=tr(
                "{measure} of {count} runs: {ends}",
                measure=tr(drawn.training).capitalize(),
                count=len(curves),
                ends=_ends(curves),
            ),
            x_title=tr(AXES[axis]),
            y_title=tr(drawn.axis),
            yaxis={"rangemode": "tozero"},
            annotations=[] if any(len(curve.x) for curve in curves) else [_waiting()],
        ),
    }


def _waiting() -> dict[str, Any]:
    return figures.in_the_middle(tr("none of these runs has logged a step yet"))


def measure(what: Measure, curves: Sequence[Curve], axis: str = STEP) -> Figure:
    """One measure of each run, small; a remark where nothing is there yet."""
    data = []
    for number, curve in enumerate(curves):
        colour, dash = _look(number)
        drawn = figures.line(curve.name, curve.x, curve.y, colour, width=1.8)
        drawn["line"]["dash"] = dash
        if len(curve.x) < 40:
            drawn |= {"mode": "lines+markers", "marker": {"color": colour, "size": 5}}
        data.append({**drawn, "showlegend": False})
    empty = not any(len(curve.x) for curve in curves)
    unit = f" ({tr(what.unit)})" if what.unit else ""
    title = f"{tr(what.title)}{unit}"
    return {
        "data": data,
        "layout": figures.layout(
            description=f"{title}: {_ends(curves)}",
            x_title=tr(AXES[axis]),
            title=figures.small_title(title),
            yaxis=_range(what),
            margin={"t": 34},
            annotations=[figures.in_the_middle(tr("nothing yet"))] if empty else [],
        ),
    }


def together(what: Measure, curves: Sequence[Curve]) -> Figure:
    """One measure of the runs of a sweep over their steps, with their names in a legend."""
    figure = measure(what, curves)
    for drawn in figure["data"]:
        drawn |= {"showlegend": True, "mode": "lines+markers", "marker": {"size": 5}}
    figure["layout"] |= {"hovermode": "closest", "legend": {"orientation": "h", "y": -0.12}}
    title = figure["layout"]["title"]["text"]
    figure["layout"]["title"]["text"] = tr("{measure} over the steps", measure=title)
    figure["layout"]["xaxis"]["title"]["text"] = ""  # the legend stands there
    return figure


def _range(what: Measure) -> dict[str, Any]:
    if what.is_share:
        return {"range": [0, 1.02]}
    plain = {"tickformat": ",.4~g"}  # 0.0002, where Plotly would write 200µ
    return {**plain, "rangemode": "tozero" if what.from_zero else "normal"}


def growth(
    modules: Sequence[str],
    steps: Sequence[int],
    rows: Sequence[Sequence[float | None]],
    title: str,
) -> Figure:
    """A number of each module (down) over the steps (across) as a heatmap."""
    data = [
        {
            "type": "heatmap",
            "x": [str(step) for step in steps],
            "y": list(modules),
            "z": [list(row) for row in rows],
            "colorscale": [[0, FAINT], [0.5, ACCENT], [1, SECOND]],
            "hovertemplate": "%{y}<br>" + tr("step") + " %{x}: %{z:.4g}<extra></extra>",
            "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": MUTED}},
        }
    ]
    last = [value for row in rows if len(row) and (value := row[-1]) is not None]
    words = tr("nothing yet")
    if last:
        words = tr(
            "from {least} to {most} at the end", least=f"{min(last):.3g}", most=f"{max(last):.3g}"
        )
    return {
        "data": data,
        "layout": figures.layout(
            description=tr(
                "{measure}, {count} of them, over the steps: {words}.",
                measure=title,
                count=len(modules),
                words=words,
            ),
            x_title=tr("step"),
            hovermode="closest",
            title={"text": title, "x": 0, "xref": "paper", "font": {"size": 13, "color": MUTED}},
            margin={"t": 34},
            xaxis={"type": "category"},
            yaxis={"autorange": "reversed", "tickfont": {"size": 10, "color": MUTED}},
        ),
    }


def _look(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], "solid" if number < len(COLOURS) else "dash"


def _ends(curves: Sequence[Curve]) -> str:
    """Where each curve stands, in words."""
    ends = [
        f"{curve.name} {curve.y[-1]:.3g}"
        if len(curve.y)
        else tr("{run} nothing yet", run=curve.name)
        for curve in curves
    ]
    return "; ".join(ends) + "."
