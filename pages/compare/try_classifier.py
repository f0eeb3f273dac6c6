"""A classifier tried out: pasted texts or a labelled set, under its base and under its adapter.

What it classifies, its classes and its base stand in the adapter's own folder. The tab is there
where there is a classifier, and shown first where the page's address names one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import gradio as gr

from lora_engine.compare.classify import SetResult, predict_rows
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from pages.compare import classifier_html, tools
from pages.compare.conversation_fields import in_words
from pages.compare.held_out_losses import progress_html
from pages.shared import layout
from pages.shared.adapter_choices import adapter_key
from pages.shared.downloads import new_file
from pages.shared.live import live_table
from pages.shared.stop_button import Stops
from pages.shared.wiring import Update, problem_box, wire

HELD_OUT = translatable("the rows it never saw")
SCORED = translatable("{done} of {total} rows scored.")
EXAMPLES = {
    "starter:entities": "Anna Fox saw a fox near Cape Town.\nThe bus driver from Peru met Jordan.",
}


@dataclass(frozen=True)
class ClassifierFields:
    """Texts and a set; what both columns predict for them."""

    tab: gr.Tab
    adapter: gr.Dropdown
    texts: gr.Textbox
    classify: gr.Button
    predicted: gr.HTML
    rows: gr.Dropdown
    score: gr.Button
    stop: gr.Button
    as_json: gr.DownloadButton
    as_csv: gr.DownloadButton
    summary: gr.HTML
    classes: gr.HTML
    matrices: gr.HTML
    problem: gr.HTML

    @property
    def results(self) -> list[gr.HTML | gr.DownloadButton]:
        return [self.predicted, *self.of_set]

    @property
    def of_set(self) -> list[gr.HTML | gr.DownloadButton]:
        return [self.summary, self.classes, self.matrices, self.as_json, self.as_csv]


def section(engine: Engine, blocks: gr.Blocks, tabs: gr.Tabs) -> None:
    """A tab that the page opens on where its address names a classifier."""
    with tools.inside(tabs, tools.CLASSIFY) as tab, gr.Column(elem_id="classify"):
        fields = _fields(tab)
    handlers = _Handlers(engine, fields, tabs)
    bind = partial(wire, problem=fields.problem)
    bind([blocks.load], handlers.open_section, [],
         [tabs, fields.tab, fields.adapter, fields.texts, fields.rows])  # fmt: skip
    bind([fields.adapter.input], handlers.choose, [fields.adapter],
         [fields.texts, *fields.results])  # fmt: skip
    fields.adapter.input(
        fn=None, inputs=[fields.adapter], js=layout.remember_js("adapter"),
        api_visibility="private",
    )  # fmt: skip
    bind([fields.classify.click], handlers.predict, [fields.adapter, fields.texts],
         [fields.predicted], empties=[fields.predicted])  # fmt: skip
    bind([fields.score.click], handlers.score, [fields.adapter, fields.rows], fields.of_set,
         empties=fields.of_set[:3])  # fmt: skip
    handlers.stops.connect(fields.stop)


def classify_endpoint(engine: Engine):
    def classify(adapter: str, texts: list[str], base: str = "") -> dict:
        """What the base and a classifier's adapter predict for texts."""
        classifier = engine.classifiers.open(adapter, base)
        return {
            "labels": list(classifier.facts.classes.labels),
            "base_head": classifier.base_head,
            "texts": [one.as_json() for one in classifier.predict(texts)],
        }

    return classify


def _fields(tab: gr.Tab) -> ClassifierFields:
    layout.section(
        tr("Try a classifier"),
        tr(
            "The classes of a text, or of its words, by the base and by the base with the adapter. "
            "Rows whose classes are known give both a score."
        ),
    )
    adapter = gr.Dropdown([], label=tr("Classifier"), elem_id="classifier")
    texts = gr.Textbox(
        "",
        label=tr("Texts"),
        info=tr("One on each line."),
        lines=3,
        max_lines=12,
        elem_id="classify-texts",
    )
    classify = gr.Button(tr("Classify"), variant="primary", elem_id="classify-button")
    predicted = gr.HTML(elem_id="classify-predicted", js_on_load="")
    rows = gr.Dropdown(
        in_words([(HELD_OUT, HELD_OUT)]),
        value=HELD_OUT,
        label=tr("Rows to score"),
        info=tr("Labelled rows: those the adapter never saw, a dataset's name, or a file's path."),
        allow_custom_value=True,
        elem_id="classify-rows",
    )
    with gr.Row(elem_classes="rs-actions"):
        score = gr.Button(tr("Score the set"), variant="primary", elem_id="classify-score")
        stop = gr.Button(tr("Stop"), variant="stop", elem_id="classify-stop")
        as_json = gr.DownloadButton(tr("Download JSON"), interactive=False, elem_id="classify-json")
        as_csv = gr.DownloadButton(tr("Download CSV"), interactive=False, elem_id="classify-csv")
    return ClassifierFields(
        tab, adapter, texts, classify, predicted, rows, score, stop, as_json, as_csv,
        summary=gr.HTML(elem_id="classify-summary", js_on_load=""),
        classes=live_table(
            label=tr("Scores by class"), file_name="classes.csv", elem_id="classify-classes"
        ),
        matrices=gr.HTML(elem_id="classify-matrices", js_on_load=""),
        problem=problem_box(),
    )  # fmt: skip


class _Handlers:
    """What the section's events do."""

    def __init__(self, engine: Engine, fields: ClassifierFields, tabs: gr.Tabs) -> None:
        self.engine, self.fields, self.tabs = engine, fields, tabs
        self.predicting, self.stops = Stops(), Stops()

    def open_section(self, request: gr.Request) -> Update:
        """The classifiers that there are; the tab is shown where the address names one."""
        found = [one for one in self.engine.adapters.list() if one.classifies]
        named = layout.state_of(request, "adapter").split(",")[0]
        chosen = self.engine.adapters.get(named) if named else None
        is_named = chosen is not None and chosen.classifies
        if chosen is not None and is_named and adapter_key(chosen) not in map(adapter_key, found):
            found.append(chosen)
        if not found:
            return {}
        value = adapter_key(chosen if chosen is not None and is_named else found[0])
        datasets = [one.name for one in self.engine.datasets.list()]
        return {
            **(tools.shown(self.tabs, tools.CLASSIFY) if is_named else {}),
            self.fields.tab: gr.Tab(visible=True),
            self.fields.adapter: gr.Dropdown(
                choices=[(f"{one.name} ({one.base_model})", adapter_key(one)) for one in found],
                value=value,
            ),
            self.fields.texts: self._example(value),
            self.fields.rows: gr.Dropdown(
                choices=[(tr(HELD_OUT), HELD_OUT), *((name, name) for name in datasets)],
                value=HELD_OUT,
            ),
        }

    def choose(self, adapter: str, request: gr.Request) -> Update:
        """Another classifier: what the one before predicted goes, and its work ends."""
        self.predicting.stop(request)
        self.stops.stop(request)
        nothing = gr.DownloadButton(value=None, interactive=False)
        return {
            self.fields.texts: self._example(adapter),
            **{one: nothing if isinstance(one, gr.DownloadButton) else ""
               for one in self.fields.results},
        }  # fmt: skip

    def predict(self, adapter: str, texts: str, request: gr.Request) -> str:
        with self.predicting.running(request) as stop:
            classifier = self.engine.classifiers.open(_named(adapter))
            lines = [line for line in (texts or "").splitlines() if line.strip()]
            found = list(classifier.predict(lines))
            stop.raise_if_set(tr("classifying the texts"))
        return classifier_html.predictions_html(
            found, classifier.facts.classes.labels, classifier.base_head
        )

    def score(self, adapter: str, rows: str, request: gr.Request) -> Iterator[Update]:
        """Both columns on the set. A stop leaves nothing: scores of some rows are no scores."""
        engine, fields = self.engine, self.fields
        with self.stops.running(request) as stop:
            classifier = engine.classifiers.open(_named(adapter))
            dataset = (
                engine.classifiers.held_out(classifier)
                if rows in ("", None, HELD_OUT)
                else engine.classifiers.rows(classifier, rows)
            )
            for state in predict_rows(classifier, dataset.rows):
                stop.raise_if_set(tr("scoring the set"))
                if isinstance(state, SetResult):
                    yield self._scored(state)
                else:
                    yield {
                        fields.summary: progress_html(state, len(dataset.rows), tr(SCORED)),
                        fields.classes: "",
                        fields.matrices: "",
                    }

    def _scored(self, result: SetResult) -> Update:
        fields = self.fields
        document = json.dumps(result.as_json(), ensure_ascii=False, indent=1)
        return {
            fields.summary: classifier_html.summary_html(result),
            fields.classes: classifier_html.classes_table(result),
            fields.matrices: classifier_html.matrices_html(result),
            fields.as_json: _download("classified.json", document),
            fields.as_csv: _download("classified.csv", result.as_csv()),
        }

    def _example(self, adapter: str) -> str:
        """Texts to begin with, where the adapter was trained on a bundled set."""
        return EXAMPLES.get(self.engine.adapters.get(adapter).dataset or "", "")


def _named(adapter: str | None) -> str:
    if not adapter:
        raise EngineError(tr("No classifier is chosen."), tr("Choose one above."))
    return adapter


def _download(name: str, text: str) -> gr.DownloadButton:
    return gr.DownloadButton(value=new_file(name, text), interactive=True)
