"""The tab "Two adapters": do their updates share directions, and what happens if both are added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spectrum import Adapter, Stopped, read_adapter, similarity
from lora_engine.spectrum.progress import ReportProgress
from lora_engine.spectrum.two_adapters import ModuleSimilarity, Similarity
from pages import TRAIN
from pages.shared import figures, layout
from pages.shared.live import Column, live_plot, live_table, table_value
from pages.shared.wiring import problem_box, wire
from pages.spectrum import spectrum_figures
from pages.spectrum.adapter_tab import adapter_choices, adapter_key
from pages.spectrum.long_work import Job, Step, Turn, Turns, wire_stop

ON = [
    ("the updates ΔW: outputs", "delta-left"),
    ("the updates ΔW: inputs", "delta-right"),
    ("lora_A, as the LoRA paper draws it", "A-right"),
]
VERDICTS = {
    "apart": "keep apart",
    "reinforce": "pull the same way",
    "oppose": "pull against each other",
    "mixed": "share directions, each for its own",
}
COLUMNS = (
    Column("Module"),
    Column("Together they"),
    Column("Cosine", layout.number, numeric=True),
    Column("Distance", layout.number, numeric=True),
    Column("Norm of A", layout.number, numeric=True),
    Column("Norm of B", layout.number, numeric=True),
    Column("φ(1, 1)", layout.number, numeric=True),
    Column("φ(r, r)", layout.number, numeric=True),
    Column("A inside B", layout.share, numeric=True),
    Column("B inside A", layout.share, numeric=True),
)
NAMED = (
    "(a, b, on) => { const state = new URL(location.href).searchParams;"
    " return [state.get('a') || a, state.get('b') || b, on]; }"
)

REMEMBER = (
    "(a, b, on, module) => { if (a && b) rankscopeSpectrum.remember("
    "{ a, b, on, ...(module ? { module } : {}) }); return []; }"
)


class Fields(NamedTuple):
    """What is compared, and the module that is drawn."""

    first: gr.Dropdown
    second: gr.Dropdown
    on: gr.Dropdown
    module: gr.Dropdown


class Shown(NamedTuple):
    """The sentence, the two plots, the table, the progress and the stop button."""

    sentence: gr.HTML
    phi: gr.HTML
    diagonal: gr.HTML
    table: gr.HTML
    doing: gr.HTML
    stop: gr.Button


def build_tab(engine: Engine, turns: Turns, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    fields, shown, problem = _layout(engine)
    options = {"problem": problem, "concurrency_limit": 4, "trigger_mode": "multiple"}
    both = [fields.first, fields.second]
    gr.on(
        [fields.first.input, fields.second.input, fields.on.input, fields.module.input],
        fn=None,
        inputs=[*both, fields.on, fields.module],
        js=REMEMBER,
        api_visibility="private",
    )

    def open_page(request: gr.Request) -> Iterator[tuple]:
        names = layout.state_of(request, "a"), layout.state_of(request, "b")
        if not all(names):
            yield gr.skip()
            return
        on = layout.state_of(request, "on")
        on = on if on in dict(ON).values() else ON[0][1]
        module = layout.state_of(request, "module")
        yield from _with_fields(engine, turns.take(request), *names, on, module)

    def open_newest(a: str | None, b: str | None, on: str, request: gr.Request) -> Iterator[tuple]:
        known = [adapter_key(adapter) for adapter in engine.adapters.list()]
        if (a and b) or len(known) < 2:
            sentence = gr.skip() if a and b else _too_few()
            yield (*[gr.skip()] * len(fields), sentence, *[gr.skip()] * (len(shown) - 1))
            return
        yield from _with_fields(engine, turns.take(request), known[0], known[1], on, "")

    def compare(a: str | None, b: str | None, on: str, request: gr.Request) -> Iterator[tuple]:
        if not a or not b:
            yield gr.skip()
            return
        yield from _with_fields(engine, turns.take(request), a, b, on, "")

    def draw_module(a: str, b: str, on: str, module: str) -> tuple:
        return _plots(engine, a, b, on, module)

    wire([blocks.load], open_page, [], [*fields, *shown], **options)
    wire(
        [tab.select],
        open_newest,
        [*both, fields.on],
        [*fields, *shown],
        js=NAMED,
        keeps_problem=True,
        **options,
    )
    wire(
        [fields.first.input, fields.second.input, fields.on.input],
        compare,
        [*both, fields.on],
        [*fields, *shown],
        **options,
    )
    wire([fields.module.input], draw_module, fields, [shown.phi, shown.diagonal], problem=problem)
    wire_stop(turns, shown.stop, problem)


def _layout(engine: Engine) -> tuple[Fields, Shown, gr.HTML]:
    choices = adapter_choices(engine)
    with gr.Row():
        options = {"allow_custom_value": True, "value": None}
        first = gr.Dropdown(choices, label="Adapter A", elem_id="pair-first", **options)
        second = gr.Dropdown(choices, label="Adapter B", elem_id="pair-second", **options)
        on = gr.Dropdown(ON, value=ON[0][1], label="Compare", elem_id="pair-on")
    with gr.Row(elem_classes="rs-job"):
        doing = gr.HTML(elem_classes="rs-doing-box", js_on_load="")
        stop = gr.Button("Stop", variant="stop", size="sm", visible=False, scale=0, min_width=90)
    problem = problem_box()
    sentence = gr.HTML(elem_id="pair-sentence", js_on_load="")
    module = gr.Dropdown([], label="Module", visible=False, elem_id="pair-module")
    with gr.Row():
        phi = live_plot(label="Subspace similarity", elem_id="pair-phi", height=380)
        diagonal = live_plot(label="Similarity by rank", elem_id="pair-diagonal", height=380)
    table = live_table(label="Modules of both", file_name="similarity.csv", elem_id="pair-table")
    fields = Fields(first, second, on, module)
    return fields, Shown(sentence, phi, diagonal, table, doing, stop), problem


def _with_fields(
    engine: Engine, turn: Turn, a: str, b: str, on: str, module: str
) -> Iterator[tuple]:
    """Every field and every output while the two are compared."""
    idle = [gr.skip()] * 4
    try:
        choices = adapter_choices(engine)
        first, second = (gr.Dropdown(choices=choices, value=name) for name in (a, b))
        started = (Step(0.0, "comparing").html(), gr.Button(visible=True))
        yield (first, second, on, gr.skip(), *idle, *started)
        kind, _, side = on.partition("-")
        paths = [engine.adapters.get(name).path for name in (a, b)]
        with Job(turn, partial(_compared, paths, kind, side)) as job:
            for step in job.steps():
                yield (*idle, *idle, step.html(), gr.skip())
            found = job.result()
    except Stopped:
        if turn.by_person:
            yield (*idle, *idle, "", gr.Button(visible=False))
        return
    except EngineError:
        yield (*idle, *idle, "", gr.Button(visible=False))
        raise
    names = [item.name for item in found.modules]
    module = module if module in names else _most_alike(found)
    drawn = next(item for item in found.modules if item.name == module)
    choice = gr.Dropdown(choices=names, value=module, visible=True)
    phi, diagonal = _figures(engine, a, b, drawn)
    table = table_value(COLUMNS, [_row(item) for item in found.modules])
    outputs = (_in_words(found), phi, diagonal, table, "", gr.Button(visible=False))
    yield (*[gr.skip()] * 3, choice, *outputs)


def _compared(
    paths: list[Path], kind: str, side: str, progress: ReportProgress, stop: StopSignal
) -> Similarity:
    return similarity(*paths, on=kind, side=side, progress=progress, stop=stop)


def _plots(engine: Engine, a: str, b: str, on: str, module: str) -> tuple[str, str]:
    """The two plots of one module, compared alone."""
    adapters = [read_adapter(engine.adapters.get(name).path) for name in (a, b)]
    alone = [_only(adapter, module) for adapter in adapters]
    kind, _, side = on.partition("-")
    return _figures(engine, a, b, similarity(*alone, on=kind, side=side).modules[0])


def _only(adapter: Adapter, module: str) -> Adapter:
    return replace(adapter, modules=(adapter.module(module),))


def _figures(engine: Engine, a: str, b: str, item: ModuleSimilarity) -> tuple[str, str]:
    if not item.phi.size:
        return "", ""
    names = [engine.adapters.get(name).name for name in (a, b)]
    return (
        figures.to_json(spectrum_figures.similarity_map(item.phi, *names)),
        figures.to_json(spectrum_figures.similarity_diagonal(item.phi, item.random_level)),
    )


def _row(item: ModuleSimilarity) -> tuple:
    shared, phi = item.interference, item.phi
    return (
        item.name,
        VERDICTS[shared.verdict] if shared else "are zero",
        item.cosine,
        item.distance,
        item.norm_a,
        item.norm_b,
        float(phi[0, 0]) if phi.size else None,
        float(phi[-1, -1]) if phi.size else None,
        shared.overlap_a if shared else None,
        shared.overlap_b if shared else None,
    )


def _most_alike(found: Similarity) -> str:
    """The module with the largest overlap: the one drawn first."""

    def overlap(item: ModuleSimilarity) -> float:
        return item.interference.overlap_a if item.interference else -1.0

    return max(found.modules, key=overlap).name


def _in_words(found: Similarity) -> str:
    """How many modules do what, if both adapters are added; and what is in one only."""
    verdicts = Counter(item.interference.verdict for item in found.modules if item.interference)
    total = len(found.modules)
    parts = [f"in {count:,} they {VERDICTS[verdict]}" for verdict, count in verdicts.most_common()]
    clash = verdicts["oppose"] + verdicts["mixed"]
    advice = (
        "Added, each would keep what it does."
        if not clash and not verdicts["reinforce"]
        else "Added, they would disturb each other there: compare the result with each alone."
        if clash
        else "Added, they would overshoot there: weights below 1 each."
    )
    sentence = f"Of {total:,} modules, {'; '.join(parts) or 'all are zero'}. {advice}"
    notes = list(found.notes)
    for which, names in (("A", found.only_in_a), ("B", found.only_in_b)):
        if names:
            notes.append(f"Only {which} adapts {len(names):,} modules, such as {names[0]}.")
    help_text = (
        '<p class="rs-doing">"A inside B" is the share of A\'s energy that lies in B\'s '
        "directions, ‖U_Bᵀ ΔA V_B‖² / ‖ΔA‖². φ(i, j) is 1 where the first i directions of one lie "
        "within the first j of the other, and about max(i, j)/n for random directions.</p>"
    )
    lead = f'<p class="rs-lead">{escape(sentence)}</p>'
    return lead + help_text + layout.notes_html(notes)


def _too_few() -> str:
    return layout.empty_state_html(
        "Two adapters are needed",
        "Train a second one, or give the folders of two PEFT adapters above.",
        "Train one",
        TRAIN.path,
    )
