"""The plots of the runs page: its runs' metrics as curves, over steps, tokens or time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.run_folder import CURVES, METRICS, Metric, MetricsRow
from lora_engine.runs import RunView
from pages.runs import run_figures
from pages.runs.run_figures import STEP, TIME, TOKENS, Curve, Measure
from pages.shared import figures
from pages.shared.live import live_plot

MOST_RUNS = 8  # in one picture
POINTS = 4000  # of all runs together, shared among them
SMALL_POINTS = 250  # of a line in a small plot, which is about as many pixels wide

LOSS, HELD_OUT = "loss", "eval_loss"
REWARD = figures.Drawn(
    translatable("reward"), translatable("reward of held-out prompts"), translatable("reward")
)
OBJECTIVE = figures.Drawn(
    axis=translatable("loss of the objective")
)  # a pair or an answer, not a token
GIB = 2**30

X: dict[str, Callable[[MetricsRow], float]] = {
    STEP: lambda row: row.step,
    TOKENS: lambda row: row.tokens,
    TIME: lambda row: row.elapsed_s,
}


def _measure(metric: Metric) -> Measure:
    """The small plot of a metric; bytes are drawn in GiB."""
    return Measure(
        key=metric.name,
        title=metric.label,
        unit="GiB" if metric.kind == "bytes" else metric.unit,
        from_zero=metric.kind != "loss",
        is_share=metric.kind == "share",
        rare=metric.is_of_some_runs,
    )


# What is evaluated stands first, beside the loss.
MEASURES = tuple(
    _measure(metric)
    for metric in sorted(CURVES, key=lambda metric: not metric.is_evaluated)
    if metric.name != LOSS
)
KEYS = (LOSS, *(what.key for what in MEASURES))


def large_plot() -> gr.HTML:
    return live_plot(
        label=tr("Loss of the run"), elem_id="loss-curve", height=300, only_in_sight=True
    )


def small_plots() -> dict[str, gr.HTML]:
    """A small plot for each other measure, by its key."""
    with gr.Row(elem_classes="rs-small-plots"):
        return {
            what.key: live_plot(
                label=tr(what.title), height=170, elem_id=f"curve-{what.key}", only_in_sight=True
            )
            for what in MEASURES
        }


def values(engine: Engine, views: Sequence[RunView], axis: str) -> dict[str, str]:
    """What the plots show for these runs, by key; the first run is the page's own."""
    x = X.get(axis, X[STEP])
    axis = axis if axis in X else STEP
    each = max(250, POINTS // max(1, len(views)) // 8)
    rows = [engine.runs.curve(view.id, each) for view in views]
    names = names_of(views)
    curve_of, words = _drawn_of(rows)
    large = [curve_of(name, found, x) for name, found in zip(names, rows, strict=True)]
    shown = {LOSS: figures.to_json(run_figures.losses(large, axis, words))}
    for what in MEASURES:
        drawn = [_curve(name, found, x, what) for name, found in zip(names, rows, strict=True)]
        is_other_loss = what.key == HELD_OUT and words is not figures.LOSS
        shown[what.key] = _small(replace(what, unit="") if is_other_loss else what, drawn, axis)
    return shown


def _drawn_of(rows: Sequence[Sequence[MetricsRow]]) -> tuple[Callable[..., Curve], figures.Drawn]:
    """The large curve of these runs, and its words; only answers learned have nats a token."""
    if all(found and found[-1].reward is not None for found in rows):
        # GRPO's loss stays near 0 whatever the run learns; its reward is what one watches.
        return _reward_curve, REWARD
    is_of_preferences = any(row.reward_chosen is not None for found in rows for row in found[:8])
    return _loss_curve, OBJECTIVE if is_of_preferences else figures.LOSS


def held_out(engine: Engine, views: Sequence[RunView]) -> str:
    """The evaluation losses of the runs of a sweep over their steps, in one figure."""
    each = max(50, POINTS // max(1, len(views)) // 4)
    what = next(one for one in MEASURES if one.key == HELD_OUT)
    drawn = [
        _curve(name, engine.runs.curve(view.id, each), X[STEP], what)
        for name, view in zip(names_of(views), views, strict=True)
    ]
    return figures.to_json(run_figures.together(what, drawn))


def _small(what: Measure, curves: Sequence[Curve], axis: str) -> str:
    """What a small plot shows; empty, so that it takes no room, where no run has its measure."""
    if what.rare and not any(len(curve.x) for curve in curves):
        return ""
    return figures.to_json(run_figures.measure(what, curves, axis))


def names_of(views: Sequence[RunView]) -> list[str]:
    """The runs' names, with the end of the id where two are called the same."""
    names = [view.record.name for view in views]
    return [
        f"{name} · {view.id[-4:]}" if names.count(name) > 1 else name
        for name, view in zip(names, views, strict=True)
    ]


def _loss_curve(name: str, rows: Sequence[MetricsRow], x: Callable[[MetricsRow], float]) -> Curve:
    evaluated = [(x(row), row.eval_loss) for row in rows if row.eval_loss is not None]
    return Curve(
        name,
        [x(row) for row in rows],
        [row.loss for row in rows],
        [x for x, _ in evaluated],
        [loss for _, loss in evaluated],
    )


def _reward_curve(name: str, rows: Sequence[MetricsRow], x: Callable[[MetricsRow], float]) -> Curve:
    sampled = [(x(row), row.reward) for row in rows if row.reward is not None]
    held_out = [(x(row), row.eval_reward) for row in rows if row.eval_reward is not None]
    return Curve(
        name,
        [x for x, _ in sampled],
        [reward for _, reward in sampled],
        [x for x, _ in held_out],
        [reward for _, reward in held_out],
    )


def _curve(
    name: str, rows: Sequence[MetricsRow], x: Callable[[MetricsRow], float], what: Measure
) -> Curve:
    metric = METRICS[what.key]
    unit = GIB if metric.kind == "bytes" else 1
    points = _thinned([(x(row), y / unit) for row in rows if (y := metric.of(row)) is not None])
    return Curve(name, [x for x, _ in points], [y for _, y in points])


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every k-th point and the last, where there are many more than a small plot can show."""
    every = len(points) // SMALL_POINTS
    return points if every < 2 else [*points[:-1:every], points[-1]]
