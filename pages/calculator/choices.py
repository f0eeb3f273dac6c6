"""The fields of the calculator's second half, and what the person chose in them.

Values come in the order in which the fields were made; `chosen` turns them into the engine's own
types, which check them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_args

import gradio as gr

from lora_engine import calculator
from lora_engine.calculator.memory_request import BYTES, Method
from lora_engine.calculator.optimizer_state import OPTIMIZERS
from lora_engine.engine import Engine
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.settings import Settings
from pages.shared import layout

START_PRESET, START_RANK, START_TARGETS = "llama-2-7b", 8, "q,v"
MOST_RANKS = 256
START_CARD = "RTX 4090 24 GB"
UPLOADED = "uploaded config.json"
TARGETS = [
    ("query and value", "q,v"),
    ("attention", "attention"),
    ("feed-forward (mlp)", "mlp"),
    ("all linear layers", "all-linear"),
]


@dataclass(frozen=True)
class Chosen:
    """What the person chose: the model under the name they gave, the question, the card."""

    name: str
    question: calculator.MemoryQuestion
    card: calculator.Card

    @property
    def source(self) -> calculator.ModelSource:
        return self.question.source

    @property
    def choice(self) -> calculator.LoraChoice:
        return self.question.choice


@dataclass(frozen=True)
class ModelFields:
    """Which model, and what of it is adapted. upload and uploaded: a config of the person's."""

    model: gr.Dropdown
    rank: gr.Slider
    targets: gr.Dropdown
    ticks: gr.CheckboxGroup
    upload: gr.UploadButton
    uploaded: gr.Textbox
    options: list[gr.components.Component]

    @property
    def values(self) -> list[gr.components.Component]:
        """The inputs of `chosen`, before those of the memory fields."""
        return [self.model, self.rank, self.targets, self.uploaded, *self.options]


def model_fields(engine: Engine) -> ModelFields:
    names = [(preset.title, name) for name, preset in calculator.PRESETS.items()]
    names += [(f"{name} (here)", name) for name in engine.base_models.names()]
    with gr.Row():
        with gr.Column(scale=1, min_width=220):
            model = gr.Dropdown(
                names,
                value=START_PRESET,
                label="Model",
                info="Or type a folder, a config.json or a hub id (org/name).",
                allow_custom_value=True,
                elem_id="preset",
            )
            upload = gr.UploadButton(
                "Upload a config.json", file_types=[".json"], size="sm", elem_id="upload-config"
            )
            uploaded = gr.Textbox(visible=False)
        rank = gr.Slider(
            1, MOST_RANKS, START_RANK, step=1, label="Rank", min_width=220, elem_id="model-rank"
        )
        targets = gr.Dropdown(
            TARGETS,
            value=START_TARGETS,
            label="Target modules",
            allow_custom_value=True,
            info="A shortcut, or module names with commas.",
            min_width=220,
            elem_id="field-target-modules",
        )
    ticks = gr.CheckboxGroup(
        [], label="What this model has", show_select_all=True, elem_id="model-ticks"
    )
    return ModelFields(model, rank, targets, ticks, upload, uploaded, _option_fields())


def _option_fields() -> list[gr.components.Component]:
    # Not layout.folded: drawn with the page, Gradio's number without a value would read 0.
    with gr.Accordion("More of LoRA: alpha, DoRA, ranks by module", open=False):
        with gr.Row():
            fields: list[gr.components.Component] = [
                gr.Number(
                    None,
                    label="Alpha",
                    info="Empty: twice the rank.",
                    min_width=140,
                    elem_id="model-alpha",
                ),
                gr.Number(0, label="LoRA dropout", min_width=140, elem_id="field-dropout"),
                gr.Textbox(
                    "",
                    label="Rank by module",
                    info='JSON, such as {"q_proj": 16}.',
                    min_width=200,
                    elem_id="field-rank-pattern",
                ),
                gr.Textbox(
                    "",
                    label="Modules trained whole",
                    info="Names with commas, such as lm_head.",
                    min_width=200,
                    elem_id="field-modules-to-save",
                ),
            ]
        with gr.Row():
            fields += [
                gr.Checkbox(False, label="DoRA", min_width=140),
                gr.Checkbox(False, label="rsLoRA", min_width=140),
                gr.Checkbox(False, label="A bias on B (lora_bias)", min_width=200),
            ]
    return fields


def memory_fields() -> list[gr.components.Component]:
    with gr.Row():
        fields = [
            gr.Dropdown(list(get_args(Method)), value="lora", label="Method", min_width=140),
            gr.Dropdown(list(BYTES), value="bf16", label="Weights in", min_width=140),
            gr.Dropdown(list(OPTIMIZERS), value="adamw", label="Optimizer", min_width=140),
            gr.Number(1, label="Batch size", min_width=140, elem_id="field-batch-size"),
            gr.Number(2048, label="Tokens a row", min_width=140, elem_id="field-seq-length"),
        ]
    with gr.Row():
        return [
            *fields,
            gr.Checkbox(
                False,
                label="Gradient checkpointing",
                info="Activations are computed again instead of kept.",
                min_width=220,
            ),
            gr.Dropdown(
                [card.name for card in calculator.CARDS],
                value=START_CARD,
                label="Your card",
                min_width=220,
            ),
        ]


def chosen(settings: Settings, values: tuple[Any, ...]) -> Chosen:
    """The engine's types for the fields' values: `ModelFields.values`, then the memory fields.

    Raises EngineError naming the field that is wrong.
    """
    name, rank, targets, uploaded, *rest = values
    options, memory = rest[:7], rest[7:14]
    method, dtype, optimizer, batch_size, seq_length, checkpointing, card_name = memory
    question = calculator.MemoryQuestion(
        source_of(name, uploaded, settings),
        _lora_choice(rank, targets, options),
        method=method,
        dtype=dtype,
        optimizer=optimizer,
        batch_size=layout.whole(batch_size),
        seq_length=layout.whole(seq_length),
        gradient_checkpointing=checkpointing,
    )
    card = next(card for card in calculator.CARDS if card.name == card_name)
    return Chosen(name, question, card)


def source_of(name: str, uploaded: str, settings: Settings) -> calculator.ModelSource:
    """The model of that name, or the config the person uploaded."""
    if name == UPLOADED and uploaded:
        return calculator.config_source(json.loads(uploaded), UPLOADED)
    return calculator.named_source(name or "", settings)


def _lora_choice(rank: float | None, targets: str, options: list[Any]) -> calculator.LoraChoice:
    alpha, dropout, rank_pattern, modules_to_save, use_dora, use_rslora, lora_bias = options
    return calculator.LoraChoice(
        rank=layout.whole(rank),
        target_modules=targets or "",
        alpha=layout.whole(alpha),
        dropout=layout.whole(dropout) or 0,
        rank_pattern=_pattern(rank_pattern),
        use_dora=use_dora,
        use_rslora=use_rslora,
        lora_bias=lora_bias,
        modules_to_save=modules_to_save or "",
    )


def _pattern(text: str) -> Any:
    """The rank pattern as typed. Raises InvalidInput naming the field where it is no JSON."""
    try:
        return json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError) as error:
        problem = FieldProblem("rank_pattern", f"is not JSON ({error})")
        raise InvalidInput("The LoRA choice", [problem], 'Give {"q_proj": 16}.') from None
