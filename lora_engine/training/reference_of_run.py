"""The reference of a run: its log-probabilities, from its folder or computed at the start."""

from __future__ import annotations

import json
from collections.abc import Callable

from lora_engine.spec import ObjectiveSpec
from lora_engine.training.checkpointing.identity import RunIdentity
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.objectives.reference import (
    Reference,
    compute_reference,
    read_reference,
    write_reference,
)
from lora_engine.training.preparation import PreparedRun


def needs_reference(objective: ObjectiveSpec) -> bool:
    """Whether the rows need a reference's log-probabilities before the first step."""
    return objective.learns_preferences and objective.has_reference


def kept_reference(run: PreparedRun, identity: RunIdentity) -> Reference | None:
    """The log-probabilities in the run's folder; None where none are needed, or none fit."""
    if not needs_reference(run.spec.objective):
        return None
    rows = len(run.data.training), len(run.data.evaluation)
    return read_reference(run.directory.path, _key(identity), rows)


def make_reference(
    run: PreparedRun, identity: RunIdentity, path: ForwardPath, should_stop: Callable[[], bool]
) -> Reference:
    """The log-probabilities under the model as it stands, also kept in the run's folder.

    Of several processes each computes them all, and the first one keeps them.
    Raises StoppedBeforeTraining once `should_stop` says so.
    """
    data, max_length = run.data, run.spec.optimization.max_length
    reference = compute_reference(
        path, data.training, data.evaluation, run.plan, max_length, should_stop
    )
    if run.ranks.is_first:
        write_reference(run.directory.path, _key(identity), reference)
    return reference


def _key(identity: RunIdentity) -> str:
    return json.dumps([identity.spec_hash, identity.data_hash, identity.base_fingerprint])
