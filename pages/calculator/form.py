"""The fields of the calculator's second half, and the request that their values make.

All but the model, the card and the run's length are made from the spec and the workload; the
engine checks what they say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from pydantic import Field as SpecField

from lora_engine import calculator
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings
from lora_engine.spec import MethodSpec, RunSpec
from pages.calculator.components import module_ticks
from pages.shared import layout, live
from pages.shared.alpha_note import alpha_note
from pages.shared.forms import NONE, Field, SpecForm
from pages.shared.wiring import problem_box

START_PRESET, START_TARGETS = "llama-2-7b", "q,v"
MOST_RANKS = 256  # of the range, and of the ranks that the browser shows without asking
START_CARD = "RTX 4090 24 GB"
START_ROWS, START_EPOCHS = 1000, 3
UPLOADED = translatable("uploaded config.json")
TARGETS = [
    (translatable("query and value"), "q,v"),
    (translatable("attention"), "attention"),
    (translatable("feed-forward (mlp)"), "mlp"),
    (translatable("all linear layers"), "all-linear"),
]
STORED = [
    (translatable("not quantized"), NONE),
    (translatable("4 bit (QLoRA)"), 4),
    (translatable("8 bit"), 8),
]
NARROW: dict[str, Any] = {"min_width": 140}

Values = Mapping[Block, Any]  # what a handler receives: the fields' values by component


class CalculatorSpec(RunSpec):
    """What the form is made from: the spec of a run, and what the calculator alone asks."""

    workload: calculator.Workload = SpecField(default_factory=calculator.Workload)


@dataclass(frozen=True)
class Selection:
    """What the fields say: the model under the name the person gave, the request, the card."""

    name: str
    request: calculator.MemoryRequest
    card: calculator.Card
    rows: Any  # rows and epochs as typed; the engine checks them
    epochs: Any

    @property
    def source(self) -> calculator.ModelSource:
        return self.request.source

    @property
    def method(self) -> MethodSpec:
        return self.request.method


class CalculatorForm:
    """The fields, made where the page calls `lay_out`.

    upload and uploaded: a config of the person's own; ticks: the modules of the model, which the
    answer draws; address_problem: what the page's address says wrongly of these fields.
    """

    address_problem: gr.HTML

    model: gr.Dropdown
    upload: gr.UploadButton
    uploaded: gr.Textbox
    ticks: gr.HTML
    scaling: gr.HTML
    card: gr.Dropdown
    rows: gr.Number
    epochs: gr.Number

    def __init__(self) -> None:
        self.spec = SpecForm(CalculatorSpec)

    @property
    def rank(self) -> gr.Number:
        return self.spec.component("method.rank", gr.Number)

    @property
    def targets(self) -> gr.Dropdown:
        return self.spec.component("method.target_modules", gr.Dropdown)

    @property
    def stored(self) -> gr.Dropdown:
        """How the base's weights are stored."""
        return self.spec.component("quantization.bits", gr.Dropdown)

    @property
    def checkpointing(self) -> gr.Checkbox:
        return self.spec.component("optimization.gradient_checkpointing", gr.Checkbox)

    @property
    def inputs(self) -> set[Component]:
        """All that `read` needs."""
        return {*self.spec.components, self.model, self.uploaded, *self._beside_the_count}

    @property
    def count_options(self) -> list[Field]:
        """The fields, beside rank and targets, on which the count depends."""
        paths = [path for path in self.spec.paths if path.startswith("method.")]
        fields = [self.spec.component(path) for path in paths if path != FINETUNING_TYPE]
        return [field for field in fields if field not in (self.rank, self.targets)]

    @property
    def count_inputs(self) -> set[Component]:
        """All on which the count depends."""
        return {self.model, self.uploaded, self.rank, self.targets, *self.count_options}

    @property
    def _beside_the_count(self) -> list[Field]:
        return [self.card, self.rows, self.epochs]

    @property
    def in_address(self) -> dict[str, Field]:
        """Every field on which an answer depends, by its name in the page's address."""
        named: dict[str, Field] = {"preset": self.model}
        for path in self.spec.paths:
            named[ADDRESS_NAMES.get(path, path.rpartition(".")[2])] = self.spec.component(path)
        return named | {"card": self.card, "rows": self.rows, "epochs": self.epochs}

    def lay_out(self, engine: Engine) -> None:
        """All fields, in one column: the model, its adapter, the training, and the rest."""
        self._model_fields(engine)
        self._adapter_fields()
        self._training_fields()
        self._further_fields()
        self.address_problem = problem_box()

    def _model_fields(self, engine: Engine) -> None:
        self.model = gr.Dropdown(
            model_choices(engine),
            value=START_PRESET,
            label=tr("Model"),
            info=tr("Or type a folder, a config.json or a hub id (org/name)."),
            allow_custom_value=True,
            elem_id="preset",
        )
        self.upload = gr.UploadButton(
            tr("Upload a config.json"), file_types=[".json"], size="sm", elem_id="upload-config"
        )
        self.uploaded = gr.Textbox(visible=False)

    def _adapter_fields(self) -> None:
        with gr.Row(elem_classes="rs-pair"):
            self.spec.field("method.rank", info=tr("Inner size of B · A."), **NARROW)
            empty = tr("Empty: twice the rank.")
            self.spec.field("method.alpha", value=None, info=empty, **NARROW)
        live.number_range(self.rank, 1, MOST_RANKS)
        self.scaling = alpha_note()
        self.spec.field(
            "method.target_modules",
            choices=_named(TARGETS),
            value=START_TARGETS,
            info=tr("A shortcut, or module names with commas."),
        )
        self.ticks = module_ticks(elem_id="model-ticks")

    def _training_fields(self) -> None:
        """How the model is trained, on which card, and for how long."""
        with gr.Row(elem_classes="rs-pair"):
            self.spec.field(FINETUNING_TYPE, info="", **NARROW)
            self.spec.field(
                "quantization.bits",
                choices=_named(STORED),
                label=tr("Base weights"),
                info="",
                **NARROW,
            )
        self.spec.field("optimization.gradient_checkpointing", info=tr(CHECKPOINTING))
        with gr.Row(elem_classes="rs-pair"):
            self.spec.field("workload.batch_size", info="", **NARROW)
            self.spec.field("workload.seq_length", info="", **NARROW)
        self.card = gr.Dropdown(
            [card.name for card in calculator.CARDS],
            value=START_CARD,
            label=tr("Your card"),
            info=tr("Or type its memory, such as 12 GB."),
            allow_custom_value=True,
            elem_id="field-card",
        )
        with gr.Row(elem_classes="rs-pair"):
            self.rows = _number(START_ROWS, tr("Training rows"), "field-rows")
            self.epochs = _number(START_EPOCHS, tr("Epochs"), "field-epochs")

    def _further_fields(self) -> None:
        # Not layout.folded: drawn with the page, Gradio's number without a value would read 0.
        with gr.Accordion(tr("More: optimizer, number formats, DoRA, ranks by module"), open=False):
            for row in FURTHER_ROWS:
                with gr.Row(elem_classes="rs-pair"):
                    for path in row:
                        changes = {"info": ""} if path in SAID_BY_THEIR_NAME else {}
                        self.spec.field(path, **changes, **NARROW)

    def source(self, values: Values, settings: Settings) -> calculator.ModelSource:
        """Raises EngineError where no model has that name."""
        return source_of(values[self.model] or "", values[self.uploaded], settings)

    def counted(
        self, values: Values, settings: Settings
    ) -> tuple[calculator.ModelSource, MethodSpec]:
        """The model and the method in the fields among the values. Raises as `read` does."""
        source = self.source(values, settings)
        return source, calculator.read_request(source, self.spec.document(values)).method

    def read(self, values: Values, settings: Settings) -> Selection:
        """Raises EngineError naming every field that is wrong by its path in the spec."""
        source = self.source(values, settings)
        request = calculator.read_request(source, self.spec.document(values))
        card = calculator.card_of(values[self.card])
        rows, epochs = layout.whole(values[self.rows]), layout.whole(values[self.epochs])
        return Selection(values[self.model], request, card, rows, epochs)


FINETUNING_TYPE = "method.finetuning_type"
# The names that say what a field is without its section; the others are the field's own.
ADDRESS_NAMES = {
    "method.target_modules": "targets",
    FINETUNING_TYPE: "method",
    "quantization.type": "quantization",
    "quantization.double": "double_quantization",
}
CHECKPOINTING = translatable(
    "Computes each layer again in the backward pass: far less memory, a third more time."
)
FURTHER_ROWS = (
    ("optimization.optimizer", "optimization.gradient_accumulation"),
    ("workload.dtype", "quantization.type"),
    ("quantization.double", "method.lora_bias"),
    ("method.use_dora", "method.use_rslora"),
    ("method.dropout", "method.bias"),
    ("method.rank_pattern", "method.alpha_pattern"),
    ("method.modules_to_save",),
)
SAID_BY_THEIR_NAME = ("optimization.optimizer", "optimization.gradient_accumulation")


def model_choices(engine: Engine) -> list[tuple[str, str]]:
    """The known architectures, and the base models that are here."""
    presets = [(preset.title, name) for name, preset in calculator.PRESETS.items()]
    here = [(tr("{name} (here)", name=name), name) for name in engine.base_models.names()]
    return [*presets, *here]


def _named(choices: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Choices whose labels are in the present language."""
    return [(tr(label), value) for label, value in choices]


def _number(value: int, label: str, elem_id: str) -> gr.Number:
    return gr.Number(value, label=label, elem_id=elem_id, **NARROW)


def source_of(name: str, uploaded: str, settings: Settings) -> calculator.ModelSource:
    """The model of that name, or the config the person uploaded."""
    if name == tr(UPLOADED):
        if not uploaded:
            raise EngineError(
                tr("The config that was uploaded is not here any more."),
                tr("Upload it again, or choose a model."),
            )
        return calculator.config_source(json.loads(uploaded), tr(UPLOADED))
    return calculator.named_source(name, settings)
