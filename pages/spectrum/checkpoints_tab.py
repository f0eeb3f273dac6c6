"""The tab "Two checkpoints": what a full fine-tuning changed, module by module."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

import gradio as gr

from lora_engine.base_models import STARTER
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum import Decomposition, Stopped, compare_checkpoints, decompose
from lora_engine.spectrum.checkpoints import CheckpointComparison, DifferenceSource, ModuleChange
from lora_engine.spectrum.progress import ReportProgress
from lora_engine.weights import open_checkpoint
from pages.shared import figures, layout
from pages.shared.live import live_plot
from pages.shared.wiring import problem_box, wire
from pages.spectrum import spectrum_figures
from pages.spectrum.long_work import Job, Turn, Turns, wire_stop
from pages.spectrum.matrix_source import model_folder
from pages.spectrum.module_map import Cell, Measure, grid_value, module_grid

MEASURES = (
    Measure("share", "relative change", "‖tuned − base‖ / ‖base‖.", "share", log=True),
    Measure("norm", "norm", "‖tuned − base‖, the Frobenius norm of the change.", log=True),
    Measure("effective", "effective rank", "Of the change: exp(−Σ p ln p) with p = σ / Σσ."),
    Measure("k90", "directions for 90 %", "Directions that carry 90 % of the change.", "count"),
    Measure("intruders", "intruder dimensions",
            "Of the tuned weight's first 10 directions, those with |cos| below 0.5 to every one "
            "of the base's (arXiv 2410.21228).", "count"),
)  # fmt: skip


class Fields(NamedTuple):
    base: gr.Dropdown
    tuned: gr.Dropdown
    intruders: gr.Checkbox


class Shown(NamedTuple):
    grid: gr.HTML
    detail: gr.HTML
    plot: gr.HTML
    doing: gr.HTML
    stop: gr.Button


def build_tab(engine: Engine, turns: Turns, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields, start, shown, problem = _layout(engine)
    options = {"problem": problem, "concurrency_limit": 4, "trigger_mode": "multiple"}

    def open_page(request: gr.Request) -> Iterator[tuple]:
        tuned = layout.state_of(request, "tuned")
        if not tuned:
            yield gr.skip()
            return
        base = layout.state_of(request, "base", STARTER)
        yield (base, tuned, *[gr.skip()] * len(shown))
        picked = layout.state_of(request, "module")
        for outputs in _compared(engine, turns.take(request), base, tuned, False, picked):
            yield (gr.skip(), gr.skip(), *outputs)

    def compare(
        base: str | None, tuned: str | None, intruders: bool, request: gr.Request
    ) -> Iterator[tuple]:
        if not base or not tuned:
            raise EngineError("Two models are needed.", "Choose a base and a tuned model.")
        yield from _compared(engine, turns.take(request), base, tuned, intruders, "")

    def show_module(
        base: str, tuned: str, event: gr.EventData, request: gr.Request
    ) -> Iterator[tuple]:
        picked = str(event._data.get("module", ""))[:500]
        yield from _module_shown(engine, turns.take(request), base, tuned, picked)

    both = [fields.base, fields.tuned]
    wire([blocks.load], open_page, [], [*both, *shown], **options)
    wire([start.click], compare, fields, shown, **options)
    wire([shown.grid.select], show_module, both, shown[1:], **options)
    wire_stop(turns, shown.stop, problem)


def _layout(engine: Engine) -> tuple[Fields, gr.Button, Shown, gr.HTML]:
    gr.HTML(
        '<p class="rs-doing">The same model before and after it was trained as a whole. Both are '
        "read from their files block by block; neither is loaded.</p>",
        js_on_load="",
    )
    with gr.Row():
        names = engine.base_models.names()
        options = {"allow_custom_value": True, "info": "A model here, or the folder of one."}
        base = gr.Dropdown(names, value=STARTER, label="Base", elem_id="checkpoint-base", **options)
        tuned = gr.Dropdown(names, value=None, label="Tuned", elem_id="checkpoint-tuned", **options)
    with gr.Row(elem_classes="rs-actions"):
        intruders = gr.Checkbox(
            label="Look for intruder dimensions (slower)", value=False, container=False,
            elem_id="checkpoint-intruders",
        )  # fmt: skip
        start = gr.Button("Compare", variant="primary", elem_id="compare-checkpoints")
    with gr.Row(elem_classes="rs-job"):
        doing = gr.HTML(elem_classes="rs-doing-box", js_on_load="")
        stop = gr.Button("Stop", variant="stop", size="sm", visible=False, scale=0, min_width=90)
    problem = problem_box()
    grid = module_grid("Modules of the two checkpoints", elem_id="checkpoint-grid")
    detail = gr.HTML(elem_id="checkpoint-module", js_on_load="")
    plot = live_plot(label="Singular values of the change", height=340)
    return (
        Fields(base, tuned, intruders),
        start,
        Shown(grid, detail, plot, doing, stop),
        problem,
    )


def _compared(
    engine: Engine, turn: Turn, base: str, tuned: str, intruders: bool, picked: str
) -> Iterator[tuple]:
    """Map, module, plot, progress and stop."""
    idle = [gr.skip()] * 3
    try:
        folders = [model_folder(engine, name) for name in (base, tuned)]

        def work(progress: ReportProgress, stop: StopSignal) -> CheckpointComparison:
            return compare_checkpoints(*folders, True, intruders, progress, stop)

        with Job(turn, work) as job:
            for step in job.steps():
                yield (*idle, step.html(), gr.Button(visible=True))
            found = job.result()
    except Stopped:
        if turn.by_person:
            yield (*idle, "", gr.Button(visible=False))
        return
    except EngineError:
        yield (*idle, "", gr.Button(visible=False))
        raise
    changed = [module for module in found.modules if module.changed]
    if not any(module.name == picked for module in changed):
        picked = max(changed, key=lambda one: one.relative_change).name if changed else ""
    grid = _map(found, {"base": base, "tuned": tuned}, picked)
    if not changed:
        yield (grid, "", "", "", gr.Button(visible=False))
        return
    yield (grid, *[gr.skip()] * 4)
    for outputs in _module_shown(engine, turn, base, tuned, picked):
        yield (gr.skip(), *outputs)


def _module_shown(
    engine: Engine, turn: Turn, base: str, tuned: str, picked: str
) -> Iterator[tuple]:
    """One module: words, the spectra of its change and of the base weight, progress, stop."""
    weights = [open_checkpoint(model_folder(engine, name)) for name in (base, tuned)]
    first, second = (checkpoint.matrix(picked) for checkpoint in weights)

    def work(progress: ReportProgress, stop: StopSignal) -> tuple[Decomposition, Decomposition]:
        change = decompose(DifferenceSource(first, second), vectors=0, stop=stop)
        whole = decompose(first, vectors=0, progress=progress, stop=stop)
        return change, whole

    try:
        with Job(turn, work) as job:
            for step in job.steps():
                yield (gr.skip(), gr.skip(), step.html(), gr.Button(visible=True))
            change, whole = job.result()
    except Stopped:
        if turn.by_person:
            yield (gr.skip(), gr.skip(), "", gr.Button(visible=False))
        return
    except EngineError:
        yield (gr.skip(), gr.skip(), "", gr.Button(visible=False))
        raise
    values = [found.singular_values for found in (change, whole)]
    plot = figures.to_json(spectrum_figures.spectra(picked, *values))
    yield (_detail(picked, change), plot, "", gr.Button(visible=False))


def _map(found: CheckpointComparison, state: dict[str, str], picked: str) -> str:
    notes = []
    if found.changed_vectors:
        names = ", ".join(found.changed_vectors[:5])
        notes.append(f"{len(found.changed_vectors):,} vectors changed too: {names}.")
    for where, names in (("base", found.only_in_base), ("tuned model", found.only_in_tuned)):
        if names:
            notes.append(f"Only the {where} has {', '.join(names[:5])}.")
    return grid_value(
        [Cell(module.name, _numbers(module)) for module in found.modules],
        MEASURES,
        sentence=_in_words(found),
        notes=notes,
        state=state,
        chosen=picked,
    )


def _in_words(found: CheckpointComparison) -> str:
    changed = [module for module in found.modules if module.changed]
    if not changed:
        return f"None of the {len(found.modules):,} matrices changed."
    most = max(changed, key=lambda module: module.relative_change)
    sentence = (
        f"{len(changed):,} of {len(found.modules):,} matrices changed, {most.name} the most "
        f"(by {layout.share(most.relative_change)} of its norm)."
    )
    searched = [module.intruders for module in changed if module.intruders is not None]
    if searched:
        count = sum(len(intruders) for intruders in searched)
        sentence += f" Intruder dimensions found: {count:,}."
    return sentence


def _numbers(module: ModuleChange) -> dict[str, float | None]:
    found = module.decomposition
    summary = found.summary() if found else None
    return {
        "share": module.relative_change,
        "norm": module.change_norm,
        "effective": summary.effective_rank if summary else None,
        "k90": summary.k90 if summary else None,
        "intruders": None if module.intruders is None else len(module.intruders),
    }


def _detail(name: str, change: Decomposition) -> str:
    shape, k95 = change.shape, change.summary().k95
    count = f"More than {change.singular_values.size:,}" if k95 is None else f"{k95:,}"
    words = f"{count} of {min(shape):,} directions carry 95 % of the change."
    return (
        f'<div class="rs-module"><h3>{escape(name)} <span>{shape[0]:,} × {shape[1]:,}</span></h3>'
        f"<p>{escape(words)}</p></div>"
    )
