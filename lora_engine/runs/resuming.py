"""Where a stopped run goes on: where it was, or at another place, or on more devices or fewer.

A checkpoint fits any place and any number of devices, so that of the spec only the place, the
devices and what is asked for there may change. Knows nothing of how a worker trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_engine.devices import CPU, list_devices
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.files import write_atomically
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launcher import lock_patiently
from lora_engine.runs.launchers import (
    configured_launchers,
    refuse_held_elsewhere,
    refuse_unconfigured,
)
from lora_engine.runs.record import RunRecord
from lora_engine.runs.store import RunStore
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, spec_from
from lora_engine.training.preflight import check_run


@dataclass(frozen=True)
class Place:
    """Where a run is to go on. What is None or left out stays as the run has it.

    launcher, devices: as in the spec. resources: fields of `resources`, with the values that they
    are to have.
    """

    launcher: str | None = None
    devices: int | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)

    def of(self, spec: RunSpec) -> RunSpec:
        """The spec of the run there. Raises InvalidInput."""
        document = spec.model_dump(mode="json")
        document["launcher"] = self.launcher or spec.launcher
        document["resources"] |= self.resources
        if self.devices is not None:
            document["optimization"]["devices"] = self.devices
        if document["optimization"]["devices"] == 1:
            document["optimization"]["sharding"] = "none"
        return spec_from(document)


def places_to_go_on(spec: RunSpec, settings: Settings) -> tuple[str, ...]:
    """The launchers that a run can choose from, its own first; one alone where there is no choice
    but of the number of devices."""
    return tuple(dict.fromkeys((spec.launcher, *configured_launchers(settings))))


def has_choice(spec: RunSpec, settings: Settings) -> bool:
    """Whether a run could go on at another place, or on another number of devices."""
    if len(places_to_go_on(spec, settings)) > 1 or spec.optimization.devices > 1:
        return True
    return len([one for one in list_devices(settings) if one != CPU]) > 1


def checked_to_go_on(record: RunRecord, place: Place, settings: Settings) -> RunSpec:
    """The spec with which a run goes on. Raises EngineError where it could not work there."""
    before = record.readable_spec()
    spec = place.of(before)
    refuse_unconfigured(spec, settings)
    try:
        check_run(spec, settings)
    except InvalidInput as error:
        if spec == before:
            raise
        remedy = tr("Let it go on at a place that can train it, or on another number of devices.")
        raise InvalidInput(tr("The run"), error.problems, remedy) from None
    return spec


def requeue_as(record: RunRecord, spec: RunSpec, directory: RunDirectory, store: RunStore) -> bool:
    """Queue a stopped run, with this spec in its folder and in the list; False where it is not one
    that can be resumed. Raises EngineError where somebody still trains in its folder, or the disk
    refuses."""
    refuse_held_elsewhere(directory, spec)
    if spec == record.spec:
        return bool(store.requeue([record.id]))
    lock = lock_patiently(directory)  # nobody starts it between the two
    try:
        was, queued = directory.spec_path.read_bytes(), False
        try:
            directory.create(spec)
            queued = bool(store.requeue([record.id], {record.id: spec}))
        finally:
            if not queued:
                write_atomically(directory.spec_path, was)
        return queued
    except OSError as error:
        raise EngineError(
            tr(
                "{path} cannot be written: {strerror}.",
                path=directory.spec_path,
                strerror=error.strerror,
            ),
            tr("Free some space there, or see that it can be written to; then resume it."),
        ) from error
    finally:
        lock.close()
