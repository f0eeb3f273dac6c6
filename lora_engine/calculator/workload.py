"""What the calculator alone asks about: the rows, the arithmetic, the device and the trainer.

Everything else in a question about memory is a part of the run's own spec. As there, label, help,
bounds and default stand in the field and nowhere else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lora_engine.spec import Section

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of one number


class Workload(Section):
    """Beside the method, the quantization and the optimization of the spec."""

    purpose: Literal["train", "chat"] = Field(
        "train",
        title="Purpose",
        description="train is a training run; chat answers, with the row as prompt and answer.",
    )
    batch_size: int = Field(
        1, title="Batch size", description="Rows in one forward pass.", ge=1, le=1_000_000
    )
    seq_length: int = Field(
        2048, title="Tokens a row", description="Tokens of one row.", ge=1, le=10_000_000
    )
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        "bfloat16", title="Weights in", description="Arithmetic of the frozen base."
    )
    device: Literal["cuda", "cpu"] = Field(
        "cuda", title="Device", description="Where it runs: a graphics card or the host."
    )
    trainer: Literal["rankscope", "plain"] = Field(
        "rankscope",
        title="Trainer",
        description="rankscope packs rows and takes the loss in chunks; plain pads rows and holds "
        "all logits at once, as transformers' own Trainer does.",
    )
    attention: Literal["sdpa", "eager"] = Field(
        "sdpa",
        title="Attention",
        description="sdpa is torch's scaled-dot-product attention; eager keeps all its weights.",
    )
    other_optimizer: Literal["galore", "sgd"] | None = Field(
        None,
        title="Other optimizer",
        description="One that no run offers, counted in place of the spec's.",
    )
    supervised_fraction: float = Field(
        1.0,
        title="Supervised share",
        description="Share of the tokens that have a loss; the rest needs no logits.",
        gt=0.0,
        le=1.0,
    )
    checkpoint_bytes: int = Field(
        0,
        title="Checkpoint size",
        description="Bytes of the model's files, which count while a CPU converts them.",
        ge=0,
    )
