"""Extending a finished run: the spec of the run that goes on, and what its schedule will do.

The extension is a run of its own, which starts from the finished run's last checkpoint: weights,
optimizer, random state and place in the data. The finished run stays as it is. Knows nothing of
the list of runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lora_engine.errors import Conflict, FieldProblem, InvalidInput
from lora_engine.language import tr, translatable
from lora_engine.run_folder import MetricsRow
from lora_engine.runs.record import RunRecord
from lora_engine.runs.states import RunState, state_name
from lora_engine.spec import ExtensionSpec, RunSpec, field_problems, spec_from
from lora_engine.training.learning_rate_schedule import learning_rate_at

MAX_NAME = 200
FINISH_FIRST = {
    RunState.QUEUED: translatable("Wait until it has finished."),
    RunState.RUNNING: translatable("Wait until it has finished."),
}


@dataclass(frozen=True)
class ExtensionPlan:
    """What an extension will do, before it starts.

    spec: of the run that goes on. first_step, total_steps: its first and its last, counted from the
    first step of the run that is extended. rate_before: of the last step taken; rate_after,
    last_rate: of the first and the last step to come.
    """

    spec: RunSpec
    first_step: int
    total_steps: int
    rate_before: float
    rate_after: float
    last_rate: float

    @property
    def words(self) -> str:
        """The steps, and what the learning rate does where the run goes on."""
        schedule = self.spec.optimization.schedule
        first, total = f"{self.first_step:,}", f"{self.total_steps:,}"
        if schedule == "constant" and self.rate_before == self.rate_after:
            return tr(
                "Steps {first} to {total}. The learning rate stays at {rate}.",
                first=first,
                total=total,
                rate=f"{self.rate_after:.3g}",
            )
        factor = self.rate_after / self.rate_before if self.rate_before else 0.0
        jumps = factor and not 0.99 < factor < 1.01
        return tr(
            "Steps {first} to {total}. The {schedule} schedule is planned anew over all {total} "
            "steps: the learning rate goes from {before} at step {last} to {after} at step {first} "
            "({factor} times), and ends at {end}."
            if jumps
            else "Steps {first} to {total}. The {schedule} schedule is planned anew over all "
            "{total} steps: the learning rate goes from {before} at step {last} to {after} at step "
            "{first}, and ends at {end}.",
            first=first,
            total=total,
            schedule=schedule,
            before=f"{self.rate_before:.3g}",
            last=f"{self.first_step - 1:,}",
            after=f"{self.rate_after:.3g}",
            factor=f"{factor:.3g}",
            end=f"{self.last_rate:.3g}",
        )

    def to_json(self) -> dict[str, Any]:
        extension = self.spec.extended_from
        return {
            "extended_from": None if extension is None else extension.run,
            "first_step": self.first_step,
            "total_steps": self.total_steps,
            "learning_rate_before": self.rate_before,
            "learning_rate_after": self.rate_after,
            "learning_rate_at_end": self.last_rate,
            "words": self.words,
        }


def plan_extension(
    record: RunRecord, last: MetricsRow | None, epochs: float | None, steps: int | None
) -> ExtensionPlan:
    """The extension of a finished run by epochs or by steps; `last` is its last metrics row.

    Raises Conflict where the run has not finished; InvalidInput where not one of the two is given,
    or it is out of bounds.
    """
    refuse_unfinished(record)
    assert last is not None, "a finished run has at least one step"
    document = {"run": record.id, "step": last.step, "steps": steps, "epochs": epochs}
    try:
        extension = ExtensionSpec.model_validate(document)
    except ValidationError as error:
        problems = [
            FieldProblem(item.path.rpartition(".")[2], item.message.removeprefix("Value error, "))
            for item in field_problems(error, "extension")
        ]
        raise InvalidInput(tr("The extension"), problems, tr("Give steps or epochs.")) from None
    spec = record.readable_spec()
    added = (
        tr("{steps} steps", steps=f"{steps:,}")
        if steps
        else tr("{epochs} epochs", epochs=f"{epochs:g}")
    )
    name = f"{record.name[: MAX_NAME - 30]} + {added}"
    whole = spec_from(
        spec.model_dump(mode="json")
        | {"name": name, "extended_from": extension.model_dump(mode="json")}
    )
    # A row has its epoch to four places, which gives the steps of one but for the longest of all.
    total = extension.total_steps(max(1, round(last.step / max(last.epoch, 1e-4))))
    return ExtensionPlan(
        spec=whole,
        first_step=last.step + 1,
        total_steps=total,
        rate_before=last.learning_rate,
        rate_after=learning_rate_at(last.step + 1, total, spec.optimization),
        last_rate=learning_rate_at(total, total, spec.optimization),
    )


def refuse_unfinished(record: RunRecord) -> None:
    """Raises Conflict for a run that is in any other state than finished."""
    if record.state is not RunState.FINISHED:
        resume = tr("Resume it (`resume {id}`); once it has finished, extend it.", id=record.id)
        first = FINISH_FIRST.get(record.state)
        raise Conflict(
            tr(
                "Run {id} is {state}; only a finished run can be extended.",
                id=record.id,
                state=state_name(record.state),
            ),
            resume if first is None else tr(first),
        )
