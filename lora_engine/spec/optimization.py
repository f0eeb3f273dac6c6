"""The optimization of a run: optimizer, schedule, batches, precision, evaluation and saving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from lora_engine.spec.section import Section

Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor"]
Schedule = Literal["cosine", "linear", "constant"]
RowOrder = Literal["random", "by_length"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Sharding = Literal["none", "fsdp"]
MOST_DEVICES = 64


class OptimizationSpec(Section):
    """Steps, batches, the learning rate over them, and when to evaluate, save and stop."""

    learning_rate: float = Field(
        2e-4,
        title="Learning rate",
        description="Largest step size, reached after the warm-up. LoRA takes about ten times "
        "full fine-tuning's.",
        gt=0.0,
        le=1.0,
    )
    optimizer: Optimizer = Field(
        "adamw",
        title="Optimizer",
        description="adamw: Adam with decoupled weight decay; 8bit keeps its state in bytes, "
        "paged moves it to the host when a GPU is full. adafactor keeps a row and a column.",
    )
    weight_decay: float = Field(
        0.0,
        title="Weight decay",
        description="How strongly AdamW pulls the trained weights to zero.",
        ge=0.0,
        le=1.0,
    )
    max_grad_norm: float = Field(
        1.0,
        title="Gradient clipping",
        description="Gradients longer than this are shortened to it. 0 turns clipping off.",
        ge=0.0,
        le=1000.0,
    )
    schedule: Schedule = Field(
        "cosine",
        title="Schedule",
        description="How the learning rate falls after the warm-up.",
    )
    warmup_ratio: float = Field(
        0.03,
        title="Warm-up share",
        description="Share of all steps in which the learning rate rises: with w of them by "
        "1/(w + 1) of it a step, the first included (transformers' first step has rate 0).",
        ge=0.0,
        le=0.5,
    )
    epochs: float = Field(
        3.0,
        title="Epochs",
        description="Passes over the training rows; null where the number of steps is given.",
        gt=0.0,
        le=1000.0,
    )
    max_steps: int | None = Field(
        None,
        title="Number of steps",
        description="Train exactly this many optimizer steps, whatever the epochs say.",
        ge=1,
        le=10_000_000,
    )
    batch_size: int = Field(
        8, title="Batch size", description="Rows in one forward pass.", ge=1, le=4096
    )
    max_tokens_per_batch: int | None = Field(
        None,
        title="Tokens a batch",
        description="Fill each forward pass with rows up to this many tokens instead of counting "
        "rows; a longer row is a batch of its own. Empty: the batch size counts.",
        ge=8,
        le=10_000_000,
    )
    row_order: RowOrder = Field(
        "random",
        title="Row order",
        description="by_length puts rows of like length into one batch: less padding, and "
        "measurably worse learning (docs/training.md).",
    )
    gradient_accumulation: int = Field(
        1,
        title="Gradient accumulation",
        description="Forward passes whose gradients are summed into one step.",
        ge=1,
        le=4096,
    )
    max_length: int = Field(
        512,
        title="Longest row",
        description="Tokens of a row that are used; the rest is cut off.",
        ge=8,
        le=1_000_000,
    )
    precision: Precision = Field(
        "auto",
        title="Numerical precision",
        description="Arithmetic of the frozen base. auto: bfloat16 on CUDA, or on cards without it "
        "float16 where that is allowed; on a processor with AVX512-BF16 or AMX bfloat16 for LoRA "
        "on a base of 20 million numbers or more that is stored in it; float32 otherwise. float16, "
        "on CUDA alone, scales gradients and skips steps that overflow. The adapter itself is "
        "always float32.",
    )
    gradient_checkpointing: bool = Field(
        False,
        title="Gradient checkpointing",
        description="Keep each layer's input alone and compute the rest again in the backward "
        "pass: less memory, about a third more time, the same result.",
    )
    offload_activations: bool = Field(
        False,
        title="Activations in host memory",
        description="Move what the backward pass needs from the GPU to the host's memory and back, "
        "layer by layer: less memory on the card, slower steps, the same losses. For adapters on "
        "language models, on a GPU alone.",
    )
    stream_base: bool = Field(
        False,
        title="Stream the base from disk",
        description="Hold two of the frozen base's layers in memory and read the others from the "
        "disk in every step: far less memory, slower steps, the same losses. For LoRA and QLoRA; "
        "no sample answers are written meanwhile.",
    )
    devices: int = Field(
        1,
        title="Devices",
        description="Devices that share the run, a process on each. They divide the rows of every "
        "step, so the loss curve stays the same. On a machine without a GPU: processes.",
        ge=1,
        le=MOST_DEVICES,
    )
    sharding: Sharding = Field(
        "none",
        title="Sharding",
        description="none: every device holds the whole base. fsdp: each holds a part of its "
        "layers and fetches the rest while it computes, for a base that fits no one card.",
    )
    eval_every: int = Field(
        50, title="Evaluate every", description="Steps between evaluations.", ge=1, le=1_000_000
    )
    save_every: int = Field(
        50, title="Save every", description="Steps between checkpoints.", ge=1, le=1_000_000
    )
    early_stopping: int | None = Field(
        None,
        title="Early stopping",
        description="Stop after this many evaluations in a row without a better one.",
        ge=1,
        le=1000,
    )
    save_best: bool = Field(
        False,
        title="Keep the best",
        description="The result is what the evaluation with the lowest loss found, not the last "
        "step's.",
    )

    @model_validator(mode="before")
    @classmethod
    def _steps_instead_of_epochs(cls, given: Any) -> Any:
        """Epochs that are null say nothing where the number of steps is given."""
        if not isinstance(given, Mapping) or given.get("max_steps") is None:
            return given
        return {name: value for name, value in given.items() if (name, value) != ("epochs", None)}
