"""The reports of a run: sample answers while it trains, and the trackers that get its curves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from lora_engine.spec.section import Section

TrackerName = Literal["tensorboard", "wandb", "trackio"]
PromptText = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class ReportSpec(Section):
    """What a run reports while it trains. Nothing here changes what it learns."""

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
    report_to: list[TrackerName] = Field(
        default_factory=list,
        title="Report to",
        description="Where the curves go besides the run's own folder: tensorboard, wandb, "
        "trackio. Each must be installed.",
        max_length=3,
    )
    own_worker: bool = Field(
        False,
        title="A worker of its own",
        description="Train alone where runs of a sweep could share one base in memory, so that "
        "seconds and memory are this run's alone.",
    )
