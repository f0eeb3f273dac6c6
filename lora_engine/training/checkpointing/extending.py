"""May a finished run be extended: is its last checkpoint whole, and is it that of the same run?

Asked before the extension exists, and by its worker again. Loads no tensors.
"""

from __future__ import annotations

from lora_engine.base_models import resolve_base_model, spec_on_base
from lora_engine.data import load_dataset
from lora_engine.data.split import split_hash
from lora_engine.errors import Conflict
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.checkpoints import identity_of_step
from lora_engine.training.checkpointing.identity import (
    RunIdentity,
    identity_changes,
    run_identity,
)
from lora_engine.training.starting_adapter import checked_adapter, with_adapter_shape

EXTENSION = "extended_from"


def refuse_unextendable(extended: RunDirectory, step: int, identity: RunIdentity) -> None:
    """identity: of the run that extends. step: the last of the run that is `extended`.

    Raises Conflict where the finished run has no whole checkpoint of its last step, or its spec,
    its data, its base model or its starting adapter is not that of the extension.
    """
    was = identity_of_step(extended.checkpoints_path, step)
    if was is None:
        raise Conflict(
            tr(
                "Run {name} has no whole checkpoint of its last step, {step}, so its "
                "optimizer's state is gone.",
                name=extended.path.name,
                step=step,
            ),
            tr(
                "Go on from its adapter with a new optimizer: start a run with "
                "method.init_from {name}.",
                name=extended.path.name,
            ),
        )
    changes = identity_changes(_without_extension(was), _without_extension(identity))
    if changes:
        what = " and ".join(changes)
        raise Conflict(
            tr(
                "{upper}{what} changed since run {name} finished.",
                upper=what[0].upper(),
                what=what[1:],
                name=extended.path.name,
            ),
            tr(
                "Put back what changed, or go on from its adapter: start a run with "
                "method.init_from {name}.",
                name=extended.path.name,
            ),
        )


def identity_before_training(spec: RunSpec, settings: Settings) -> RunIdentity:
    """The identity that the worker of `spec` will find. Raises EngineError as `prepare` does."""
    base = resolve_base_model(spec.base_model, settings)
    spec = spec_on_base(with_adapter_shape(spec, base, settings), base)
    adapter = checked_adapter(spec, base, settings)
    data_hash = split_hash(load_dataset(spec.dataset, settings), spec.dataset.eval_fraction)
    return run_identity(spec, base, data_hash, None if adapter is None else adapter.sha256)


def _without_extension(identity: RunIdentity) -> RunIdentity:
    fields = identity.spec_fields
    if fields is None:
        return identity
    own = {path: value for path, value in fields.items() if path.split(".")[0] != EXTENSION}
    return identity.model_copy(update={"spec_fields": own})
