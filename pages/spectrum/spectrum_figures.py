"""Figures of the spectrum page: spectra over one another, and subspace similarity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lora_engine.language import tr
from pages.shared.figures import ACCENT, MUTED, SECOND, Figure, layout

SMALL = {"color": MUTED, "size": 12}
MOST_POINTS = 400
MOST_CELLS = 64


FEW = 128  # values up to which the axis also has room for 2 and 5
FEW_TIMES = 1000  # the largest value over the smallest, below which their axis has them too


def spectra(title: str, delta: np.ndarray, base: np.ndarray | None) -> Figure:
    """An update's singular values beside its base weight's own, both axes logarithmic.

    delta and base are descending; values of zero have no place on the axis and are left out.
    """
    data = [_spectrum(tr("update ΔW"), delta, ACCENT, "lines+markers")]
    if base is not None:
        data.append(_spectrum(tr("base weight W"), base, SECOND, "lines"))
    most = max(delta.size, 0 if base is None else base.size)
    first = f"{_first(delta):.3g}"
    if base is None:
        words = tr(
            "Singular values of {title}: the update's fall from {first}.", title=title, first=first
        )
    else:
        words = tr(
            "Singular values of {title}: the update's fall from {first}, the base weight's from "
            "{base}.",
            title=title,
            first=first,
            base=f"{_first(base):.3g}",
        )
    return {
        "data": data,
        "layout": layout(
            description=words,
            x_title="i",
            y_title=tr("singular value σᵢ"),
            xaxis={"type": "log", "dtick": "D2" if most <= FEW else 1},
            yaxis={
                "type": "log",
                "exponentformat": "e",
                **_ticks([delta, base]),
                "tickfont": SMALL,
            },
            legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        ),
    }


def similarity_map(phi: np.ndarray, name_a: str, name_b: str) -> Figure:
    """phi(i, j), i directions of the first adapter down, j of the second across, 0 to 1."""
    shown = phi[:MOST_CELLS, :MOST_CELLS]
    return {
        "data": [
            {
                "type": "heatmap",
                "z": shown.round(4),
                "x": list(range(1, shown.shape[1] + 1)),
                "y": list(range(1, shown.shape[0] + 1)),
                "zmin": 0,
                "zmax": 1,
                "colorscale": "Viridis",
                "colorbar": {"title": {"text": "φ"}, "thickness": 12, "outlinewidth": 0},
                "hovertemplate": "i = %{y}, j = %{x}: φ = %{z:.3f}<extra></extra>",
            }
        ],
        "layout": layout(
            description=tr(
                "Subspace similarity of the two updates: {first}.", first=_first_phi(phi)
            ),
            x_title=tr("j, directions of {name}", name=_short(name_b)),
            y_title=tr("i, directions of {name}", name=_short(name_a)),
            hovermode="closest",
        ),
    }


def similarity_diagonal(phi: np.ndarray, random_level: np.ndarray) -> Figure:
    """phi(i, i) beside what random directions would give, max(i, i) / n."""
    i = list(range(1, min(phi.shape) + 1))
    found, random = np.diagonal(phi), np.diagonal(random_level)
    return {
        "data": [
            _line("φ(i, i)", i, found, ACCENT, {"width": 2.5}),
            _line(tr("random directions"), i, random, MUTED, {"width": 1.5, "dash": "dot"}),
        ],
        "layout": layout(
            description=tr("Similarity of the first i directions: {first}.", first=_first_phi(phi)),
            x_title="i",
            y_title="φ(i, i)",
            yaxis={"range": [0, 1.02]},
        ),
    }


def _spectrum(name: str, values: np.ndarray, colour: str, mode: str) -> Figure:
    positive = values[values > 0]
    places = _spread(positive.size)
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": (places + 1).tolist(),
        "y": positive[places].tolist(),
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 5},
        "hovertemplate": "%{y:.4g}",
    }


def _line(name: str, x: Sequence[int], y: np.ndarray, colour: str, style: dict) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": y.tolist(),
        "line": {"color": colour, **style},
        "hovertemplate": "%{y:.3f}",
    }


def _spread(count: int) -> np.ndarray:
    """At most MOST_POINTS places, even on a logarithmic axis, first and last among them."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, MOST_POINTS).round().astype(int)) - 1


def _ticks(spectra: Sequence[np.ndarray | None]) -> dict:
    """The powers of ten; over few of them 2 and 5 times each as well, which Plotly would write as
    a bare 2 and 5."""
    shown = [values[values > 0] for values in spectra if values is not None and values.any()]
    if not shown:
        return {"dtick": 1}
    low = min(values.min() for values in shown)
    high = max(values.max() for values in shown)
    if high / low >= FEW_TIMES:
        return {"dtick": 1}
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _first(values: np.ndarray) -> float:
    return float(values[0]) if values.size else 0.0


def _first_phi(phi: np.ndarray) -> str:
    if not phi.size:
        return tr("none, one is zero")
    return tr("{value} for the first direction of each", value=f"{phi[0, 0]:.2f}")


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:37] + "…"
