"""The spec of a run: every choice a person makes, with its default, bound and help, once.

Forms, the command line and the documentation are made from these fields: `title` is the label,
`description` the help, `ge` and `le` the bounds. The spec knows nothing of files: whether a base
model or a dataset is really there is `training.preflight`'s question.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator

from lora_engine.errors import FieldProblem, InvalidInput, NotFound
from lora_engine.spec.data import DatasetSpec, Task
from lora_engine.spec.method import MethodSpec, QuantizationSpec, Section

MAX_SPEC_BYTES = 1_000_000
REMEDY = "Correct these fields; docs/spec.md lists every field with its bounds."
PromptText = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class OptimizationSpec(Section):
    learning_rate: float = Field(
        2e-4,
        title="Learning rate",
        description="Largest step size, reached after the warm-up. LoRA takes about ten times "
        "full fine-tuning's.",
        gt=0.0,
        le=1.0,
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor"] = (
        Field(
            "adamw",
            title="Optimizer",
            description="adamw: Adam with decoupled weight decay; 8bit keeps its state in bytes, "
            "paged moves it to the host when a GPU is full. adafactor keeps a row and a column.",
        )
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
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine",
        title="Schedule",
        description="How the learning rate falls after the warm-up.",
    )
    warmup_ratio: float = Field(
        0.03,
        title="Warm-up share",
        description="Share of all steps in which the learning rate rises from zero.",
        ge=0.0,
        le=0.5,
    )
    epochs: float = Field(
        3.0,
        title="Epochs",
        description="Passes over the training rows.",
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
    row_order: Literal["random", "by_length"] = Field(
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
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        title="Precision",
        description="Arithmetic of the frozen base. auto: bfloat16 on CUDA, float32 on the CPU. "
        "The adapter itself is always float32.",
    )
    gradient_checkpointing: bool = Field(
        False,
        title="Gradient checkpointing",
        description="Keep each layer's input alone and compute the rest again in the backward "
        "pass: less memory, about a third more time, the same result.",
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


class ReportSpec(Section):
    """What is told about a run while it trains; nothing here changes what it learns."""

    samples: int = Field(
        2,
        title="Sample answers",
        description="Prompts answered before the first step and at every evaluation, so that one "
        "sees the style arrive.",
        ge=0,
        le=8,
    )
    sample_prompts: list[PromptText] = Field(
        default_factory=list,
        title="Sample prompts",
        description="The prompts, one a line. Empty: the first questions of the evaluation rows.",
        max_length=8,
        json_schema_extra={"one_a_line": True},
    )
    sample_tokens: int = Field(
        40,
        title="Sample length",
        description="Tokens after which a sample answer is cut off.",
        ge=1,
        le=512,
    )
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list,
        title="Report to",
        description="Where the curves go besides the run's own folder: tensorboard, wandb, "
        "trackio. Each must be installed.",
        max_length=3,
    )


class RunSpec(Section):
    """One training job, whole: the same spec, seed and machine give the same loss curve."""

    name: str = Field(
        "pirate r8",
        title="Name",
        description="What you call the run.",
        min_length=1,
        max_length=200,
    )
    base_model: str = Field(
        "starter",
        title="Base model",
        description="starter, a folder, a folder's name in LORA_MODELS_DIR, or a hub id.",
        min_length=1,
        max_length=1000,
    )
    task: Task = Field(
        "causal_lm",
        title="Task",
        description="causal_lm continues a text. The other two put a new head on an encoder: a "
        "class for each text, or one for each word.",
    )
    dataset: DatasetSpec = Field(default_factory=DatasetSpec)
    method: MethodSpec = Field(default_factory=MethodSpec)
    quantization: QuantizationSpec | None = Field(
        None, title="Quantization", description="Empty keeps the base in 16 or 32 bit."
    )
    optimization: OptimizationSpec = Field(default_factory=OptimizationSpec)
    report: ReportSpec = Field(default_factory=ReportSpec)
    seed: int = Field(
        0,
        title="Seed",
        description="Fixes the split, the order of the rows and every random start.",
        ge=0,
        le=2**32 - 1,
    )

    @field_validator("name")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable() or not value.strip():
            raise ValueError("only printable characters, and not only spaces")
        return value.strip()


def parse_spec(text: str | bytes) -> RunSpec:
    """The spec in a JSON document.

    Raises InvalidInput naming every unknown key, wrong type and crossed bound with its path.
    """
    if len(text) > MAX_SPEC_BYTES:
        problem = FieldProblem("spec", f"{len(text):,} bytes, at most {MAX_SPEC_BYTES:,} allowed")
        raise InvalidInput("The spec", [problem], REMEDY)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = FieldProblem("spec", f"not JSON ({error})")
        raise InvalidInput("The spec", [problem], REMEDY) from None
    return spec_from(document)


def spec_from(document: Any) -> RunSpec:
    """The spec in parsed JSON. Raises InvalidInput as `parse_spec` does."""
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        raise InvalidInput("The spec", _problems(error), REMEDY) from None


def read_spec(path: Path) -> RunSpec:
    """The spec in a file. Raises NotFound, or InvalidInput as `parse_spec` does."""
    if not path.is_file():
        raise NotFound(f"There is no spec file {path}.", "Give the path of a JSON file.")
    with path.open("rb") as file:
        return parse_spec(file.read(MAX_SPEC_BYTES + 1))


def _problems(error: ValidationError) -> list[FieldProblem]:
    problems = []
    for item in error.errors():
        names = [str(part) for part in item["loc"]]
        # pydantic ends the path of a union's member with that member's own description
        path = ".".join(name for name in names if not name.startswith(("literal[", "list[")))
        received = repr(item["input"])
        if len(received) > 80:
            received = received[:77] + "..."
        message = (
            "unknown key" if item["type"] == "extra_forbidden" else f"{item['msg']}, got {received}"
        )
        problems.append(FieldProblem(path or "spec", message))
    return problems
