"""The extension of a finished run: which run goes on, after which step, and for how long."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from lora_engine.language import tr
from lora_engine.spec.section import Section


class ExtensionSpec(Section):
    """A finished run that goes on from its last checkpoint, with its optimizer's state.

    The steps are numbered on from its last one. The schedule is planned over the new total: each
    further step has the learning rate that it would have had in a run planned for that total from
    the start.
    """

    run: str = Field(
        title="Extended run",
        description="The id of the finished run. It stays as it is.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}$",
    )
    step: int = Field(
        title="After step",
        description="Its last step; the first of this run is the one after it.",
        ge=1,
        le=10_000_000,
    )
    steps: int | None = Field(
        None,
        title="More steps",
        description="How many steps are added. The schedule is planned over the new total: a step "
        "has the learning rate that a run of that total would have had there.",
        ge=1,
        le=10_000_000,
    )
    epochs: float | None = Field(
        None,
        title="More epochs",
        description="How many passes over the training rows are added, in place of steps.",
        gt=0.0,
        le=1000.0,
    )

    @model_validator(mode="after")
    def _one_length(self) -> ExtensionSpec:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(tr("give steps or epochs, one of the two"))
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """The last step of the extended run, counted from the first step of all."""
        return self.step + (self.steps or added_steps(self.epochs or 0.0, steps_per_epoch))


def added_steps(epochs: float, steps_per_epoch: int) -> int:
    """Epochs in steps, a part of a step counted whole."""
    return max(1, math.ceil(steps_per_epoch * epochs))
