"""Figures of a judgement: loss and forgetting by rank with their intervals, and costs against loss.

Takes the judgement, gives plain dicts as `pages.shared.figures` does; knows no engine and no page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.advisor import Interval, Judgement, RankJudgement
from lora_engine.language import tr, translatable
from pages.runs.sweep_judgement_values import FORGETTING
from pages.shared import figures, layout
from pages.shared.figures import ACCENT, FAINT, MUTED, SECOND, TEXT, Figure

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """One axis of the Pareto pictures. key: its name in `RankJudgement.pareto`."""

    key: str
    title: str
    of: Callable[[RankJudgement], float | None]


COSTS = (
    Cost("parameters", translatable("parameters"), lambda one: one.parameters),
    Cost("parameters", translatable("size of the adapter (MiB)"), lambda one: one.bytes / MIB),
    Cost("seconds", translatable("seconds in training"), lambda one: one.seconds),
    Cost(
        "peak_memory_bytes",
        translatable("peak memory (MiB)"),
        lambda one: one.peak_memory_bytes / MIB,
    ),
)


def losses_figure(judgement: Judgement) -> Figure:
    """Held-out loss over rank, best setting of each: the best rank's, plus what each differs by.

    The differences are on the same rows, so they decide, and their intervals are drawn. A seed's
    point is its own difference. A dashed line is the best loss plus the margin.
    """
    ranks = judgement.ranks
    best = next(one for one in ranks if one.rank == judgement.best_rank)
    limit = best.eval_loss + judgement.not_worse_by
    ends = [ranks[0].rank / 1.3, ranks[-1].rank * 1.3]
    allowed = figures.line(tr("best + margin"), ends, [limit, limit], MUTED, width=1.5)
    seeds = [
        (one.rank, seed.difference)
        for one in ranks
        for seed in one.seeds
        if seed.difference is not None
    ]
    chosen = _recommended(judgement)
    data = [
        {**allowed, "line": {**allowed["line"], "dash": "dash"}, "hoverinfo": "skip"},
        _with_intervals(
            tr("mean over the seeds"), ranks, [best.eval_loss + one.interval.mean for one in ranks],
            [one.interval for one in ranks], ACCENT,
        ),
        _points(
            tr("a seed, beside the best of that seed"), [rank for rank, _ in seeds],
            [best.eval_loss + difference for _, difference in seeds],
            {"color": SECOND, "size": 7, "symbol": "circle-open", "line": {"width": 2}},
        ),
        _points(
            tr("recommended"), [chosen.rank], [best.eval_loss + chosen.interval.mean],
            {"color": TEXT, "size": 17, "symbol": "circle-open", "line": {"width": 2.5}},
        ),
    ]  # fmt: skip
    return {
        "data": data,
        "layout": _by_rank(
            ranks,
            description=judgement.sentence(),
            title=tr("Held-out loss (nats a token) over rank"),
        ),
    }


def forgetting_figure(judgement: Judgement) -> Figure | None:
    """Loss on general questions minus the base's, over rank; None where it is not measured."""
    measured = [(one, one.forgetting) for one in judgement.ranks if one.forgetting is not None]
    if not measured:
        return None
    ranks = [one for one, _ in measured]
    intervals = [forgot.interval for _, forgot in measured]
    ends = [ranks[0].rank / 1.3, ranks[-1].rank * 1.3]
    base = figures.line(tr("the base"), ends, [0.0, 0.0], MUTED, width=1.5)
    said = "; ".join(
        tr("rank {rank}: {word}", rank=one.rank, word=tr(FORGETTING[forgot.word]))
        for one, forgot in measured
    )
    return {
        "data": [
            {**base, "line": {**base["line"], "dash": "dash"}, "hoverinfo": "skip"},
            _with_intervals(
                tr("forgetting"), ranks, [one.mean for one in intervals], intervals, SECOND
            ),
        ],
        "layout": _by_rank(
            ranks,
            description=tr("Loss on general questions minus the base's. {said}.", said=said),
            title=tr("Forgetting (nats a token) over rank"),
            showlegend=False,
        ),
    }


def pareto_figure(judgement: Judgement, cost: Cost) -> Figure:
    """Held-out loss against one cost; the ranks that no other beats in both are joined."""
    ranks = [(one, x) for one in judgement.ranks if (x := cost.of(one)) is not None]
    front = sorted(
        ((x, one.eval_loss) for one, x in ranks if cost.key in one.pareto),
        key=lambda point: point[0],
    )
    names = ", ".join(str(one.rank) for one, _ in ranks if cost.key in one.pareto)
    joined = figures.line("", [x for x, _ in front], [y for _, y in front], FAINT, width=2)
    data = [
        {**joined, "line": {**joined["line"], "shape": "hv"}, "hoverinfo": "skip"},
        {
            **_points(
                "",
                [x for _, x in ranks],
                [one.eval_loss for one, _ in ranks],
                {
                    "size": 9,
                    "color": [ACCENT if cost.key in one.pareto else MUTED for one, _ in ranks],
                },
            ),
            "mode": "markers+text",
            "text": [f"r{one.rank}" for one, _ in ranks],
            "textposition": "top right",
            "cliponaxis": False,
            "textfont": {"color": MUTED, "size": 11},
        },
    ]
    return {
        "data": data,
        "layout": figures.layout(
            description=tr(
                "Held-out loss against {cost}. No other rank has less of both than rank {ranks}.",
                cost=tr(cost.title),
                ranks=names,
            ),
            x_title=tr(cost.title),
            hovermode="closest",
            showlegend=False,
            title=figures.small_title(tr("Held-out loss against")),
            margin={"t": 34, "r": 30},
        ),
    }


def _recommended(judgement: Judgement) -> RankJudgement:
    return next(one for one in judgement.ranks if one.rank == judgement.recommended_rank)


def _with_intervals(
    name: str,
    ranks: Sequence[RankJudgement],
    values: Sequence[float],
    intervals: Sequence[Interval],
    colour: str,
) -> dict[str, Any]:
    """A line over the ranks whose points have the intervals' ends around them."""
    return {
        **figures.line(name, [one.rank for one in ranks], values, colour, width=2),
        "mode": "lines+markers",
        "marker": {"color": colour, "size": 8},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.mean for one in intervals],
            "arrayminus": [one.mean - one.low for one in intervals],
            "color": colour,
            "thickness": 1.5,
            "width": 5,
        },
    }


def _points(
    name: str, x: Sequence[float], y: Sequence[float], marker: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "marker": marker,
        "hovertemplate": "%{x:,.4~g}: %{y:.4g}",
    }


def _by_rank(
    ranks: Sequence[RankJudgement], *, description: str, title: str, **more: Any
) -> Figure:
    values = [one.rank for one in ranks]
    ticks = {"tickvals": values, "ticktext": [layout.count(rank) for rank in values]}
    return figures.layout(
        description=description,
        hovermode="closest",
        title=figures.small_title(title),
        margin={"t": 34},
        xaxis={"type": "log", **ticks},
        legend={"orientation": "h", "x": 0, "y": -0.1, "yanchor": "top"},
        **more,
    )
