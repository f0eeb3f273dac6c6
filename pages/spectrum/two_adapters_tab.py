"""The tab "Two adapters": do their updates share directions, and what happens if both are added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr

from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from lora_engine.spectrum import (
    Adapter,
    ModuleSimilarity,
    On,
    ReportProgress,
    Side,
    Similarity,
    read_adapter,
    similarity,
)
from pages.shared import figures, layout
from pages.shared.adapter_choices import adapter_choices, adapter_key
from pages.shared.background_work import (
    ProgressRow,
    TabTask,
    TabTasks,
    Work,
    connect_stop,
    progress_row,
)
from pages.shared.live import live_plot, live_table
from pages.shared.static_files import event_js
from pages.shared.wiring import Update, wire
from pages.spectrum import spectrum_figures
from pages.spectrum.two_adapters_view import (
    combine_html,
    modules_table,
    most_alike,
    summary_html,
    too_few_html,
)

COMPARED = [
    (translatable("the updates ΔW: outputs"), "delta-left"),
    (translatable("the updates ΔW: inputs"), "delta-right"),
    (translatable("lora_A, as the LoRA paper draws it"), "A-right"),
]


@dataclass(frozen=True)
class PairFields:
    """Which two adapters, what of them is compared, and the module that is drawn."""

    first: gr.Dropdown
    second: gr.Dropdown
    compared: gr.Dropdown
    module: gr.Dropdown


@dataclass(frozen=True)
class PairView:
    """The sentence, the two plots of one module, and the table of all modules."""

    sentence: gr.HTML
    phi: gr.HTML
    diagonal: gr.HTML
    table: gr.HTML


@dataclass(frozen=True)
class Pair:
    """Two adapters by key, and which of the choices in COMPARED is compared."""

    first: str
    second: str
    compared: str

    @property
    def on(self) -> On:
        return "A" if self.compared.startswith("A") else "delta"

    @property
    def side(self) -> Side:
        return "right" if self.compared.endswith("right") else "left"


def build_tab(engine: Engine, tasks: TabTasks, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """The tab's contents and its wiring; call it inside the tab."""
    first, second, compared = _pair_choices(engine)
    row = progress_row("pair")
    sentence = gr.HTML(elem_id="pair-sentence", js_on_load="")
    module = gr.Dropdown([], label=tr("Module"), visible=False, elem_id="pair-module")
    fields = PairFields(first, second, compared, module)
    view = _pair_view(sentence)

    handlers = _Handlers(engine, tasks, fields, view, row)
    pair = [first, second, compared]
    plots = [view.phi, view.diagonal]
    everything = [*pair, module, sentence, *plots, view.table, *row.outputs]
    changes = [first.input, second.input, compared.input]
    bind = partial(
        wire,
        problem=row.problem,
        concurrency_limit=4,
        trigger_mode="multiple",
        empties=[sentence, *plots, view.table, row.progress],
    )
    bind([blocks.load], handlers.open_page, outputs=everything)
    named = event_js("spectrum/address.js", "pairInAddress")
    bind([tab.select], handlers.open_newest, pair, everything, js=named, keeps_problem=True)
    bind(changes, handlers.compare, pair, everything)
    wire([module.input], handlers.draw_module, [*pair, module], plots, problem=row.problem)
    remember = event_js("spectrum/address.js", "rememberPair")
    gr.on(
        [*changes, module.input],
        fn=None,
        inputs=[*pair, module],
        js=remember,
        api_visibility="private",
    )
    connect_stop(tasks, row)


def _pair_choices(engine: Engine) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    def adapter_field(label: str, elem_id: str) -> gr.Dropdown:
        return gr.Dropdown(
            adapter_choices(engine, lora_alone=True), value=None, label=label,
            allow_custom_value=True, elem_id=elem_id,
        )  # fmt: skip

    with gr.Row():
        first = adapter_field(tr("Adapter A"), "pair-first")
        second = adapter_field(tr("Adapter B"), "pair-second")
        compared = gr.Dropdown(
            [(tr(label), value) for label, value in COMPARED],
            value=COMPARED[0][1],
            label=tr("Compare"),
            elem_id="pair-on",
        )
    return first, second, compared


def _pair_view(sentence: gr.HTML) -> PairView:
    with gr.Row():
        phi = live_plot(label=tr("Subspace similarity"), elem_id="pair-phi", height=380)
        diagonal = live_plot(label=tr("Similarity by rank"), elem_id="pair-diagonal", height=380)
    table = live_table(
        label=tr("Modules of both"), file_name="similarity.csv", elem_id="pair-table"
    )
    return PairView(sentence, phi, diagonal, table)


@dataclass(frozen=True)
class _Handlers:
    """What the tab's events do."""

    engine: Engine
    tasks: TabTasks
    fields: PairFields
    view: PairView
    row: ProgressRow

    def open_page(self, request: gr.Request) -> Iterator[Update]:
        """The two adapters that the address names."""
        first, second = layout.state_of(request, "a"), layout.state_of(request, "b")
        if not first or not second:
            yield {}
            return
        compared = layout.state_of(request, "on")
        compared = compared if compared in dict(COMPARED).values() else COMPARED[0][1]
        pair = Pair(first, second, compared)
        yield self._named(pair)
        yield from self._compare(request, pair, layout.state_of(request, "module"))

    def open_newest(
        self, first: str | None, second: str | None, compared: str, request: gr.Request
    ) -> Iterator[Update]:
        """The two newest adapters, where none are chosen yet."""
        if first and second:
            yield {}
            return
        known = [adapter_key(adapter) for adapter in self.engine.adapters.of_lora()]
        if len(known) < 2:
            yield {self.view.sentence: too_few_html()}
            return
        pair = Pair(known[0], known[1], compared)
        yield self._named(pair)
        yield from self._compare(request, pair)

    def compare(
        self, first: str | None, second: str | None, compared: str, request: gr.Request
    ) -> Iterator[Update]:
        if first and second:
            yield from self._compare(request, Pair(first, second, compared))
            return
        self.tasks.start(request)  # ends the comparison of a pair that is not chosen any more
        missing = tr("Choose adapter {which} too.", which="A" if second else "B")
        yield {**self._nothing_drawn(missing), **self.row.idle()}

    def draw_module(self, first: str, second: str, compared: str, module: str) -> Update:
        """The two plots of one module, compared alone."""
        pair = Pair(first, second, compared)
        one, other = (self._only(name, module) for name in (first, second))
        found = similarity(one, other, on=pair.on, side=pair.side)
        return self._plots(pair, found.modules[0])

    def _compare(self, request: gr.Request, pair: Pair, module: str = "") -> Iterator[Update]:
        task = self.tasks.start_unless_asked(request, (pair, module))
        if task is None:
            yield {}
            return
        stopped = self._nothing_drawn(tr("Stopped before the two were compared."))
        yield from self.row.until_stopped(task, self._compare_all(task, pair, module), stopped)

    def _compare_all(self, task: TabTask, pair: Pair, module: str) -> Iterator[Update]:
        """The module's choices and every output, while the two are compared and then."""
        fields, view = self.fields, self.view
        yield self.row.working(0.0, tr("comparing"))
        paths = [self.engine.adapters.get(name).path for name in (pair.first, pair.second)]
        found = yield from self.row.watch(task, comparing(pair, *paths))
        names = [item.name for item in found.modules]
        module = module if module in names else most_alike(found)
        drawn = next(item for item in found.modules if item.name == module)
        yield {
            fields.module: gr.Dropdown(choices=names, value=module, visible=True),
            view.sentence: summary_html(found) + combine_html(pair.first, pair.second),
            view.table: modules_table(found),
            **self._plots(pair, drawn),
            **self.row.idle(),
        }

    def _nothing_drawn(self, words: str) -> Update:
        """Words where the comparison was, which is gone."""
        emptied: Update = dict.fromkeys((self.view.phi, self.view.diagonal, self.view.table), "")
        sentence = f'<p class="rs-doing">{escape(words)}</p>'
        hidden = gr.Dropdown(visible=False)
        return {**emptied, self.view.sentence: sentence, self.fields.module: hidden}

    def _named(self, pair: Pair) -> Update:
        """The fields for a pair that the person did not choose in them."""
        fields, choices = self.fields, adapter_choices(self.engine, lora_alone=True)
        return {
            fields.first: gr.Dropdown(choices=choices, value=pair.first),
            fields.second: gr.Dropdown(choices=choices, value=pair.second),
            fields.compared: pair.compared,
        }

    def _only(self, name: str, module: str) -> Adapter:
        """An adapter with one of its modules."""
        adapter = read_adapter(self.engine.adapters.get(name).path)
        return replace(adapter, modules=(adapter.module(module),))

    def _plots(self, pair: Pair, item: ModuleSimilarity) -> Update:
        if not item.phi.size:
            return {self.view.phi: "", self.view.diagonal: ""}
        first, second = (self.engine.adapters.get(name).name for name in (pair.first, pair.second))
        phi = spectrum_figures.similarity_map(item.phi, first, second)
        diagonal = spectrum_figures.similarity_diagonal(item.phi, item.random_level)
        return {
            self.view.phi: figures.to_json(phi),
            self.view.diagonal: figures.to_json(diagonal),
        }


def comparing(pair: Pair, first: Path, second: Path) -> Work[Similarity]:
    """Work: the similarity of the adapters in two folders, compared as `pair` says."""

    def compare(progress: ReportProgress, stop: StopSignal) -> Similarity:
        return similarity(first, second, pair.on, pair.side, progress, stop)

    return compare
