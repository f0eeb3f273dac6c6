"""The identity of a run: the spec, the data and the base model that its checkpoints belong to.

A checkpoint is only resumed under the identity it was saved with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel as PydanticModel
from pydantic import ConfigDict

from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.language import tr
from lora_engine.spec import RunSpec

NOT_IN_IDENTITY = {"name", "report", "launcher", "resources"}


class RunIdentity(PydanticModel):
    """What a checkpoint belongs to, as its manifest has it.

    spec_fields: the spec's fields that differ from their defaults, dotted path to JSON; None in
    old checkpoints, which have only the hash. adapter_hash: of the adapter that the run goes on
    from, its configuration and weights; None for none.
    """

    model_config = ConfigDict(frozen=True)

    spec_hash: str
    data_hash: str
    base_fingerprint: str
    spec_fields: dict[str, str] | None = None
    adapter_hash: str | None = None


def run_identity(
    spec: RunSpec, base: BaseModel, data_hash: str, adapter_hash: str | None = None
) -> RunIdentity:
    """The identity of a run; reads the base model's files to fingerprint them."""
    return RunIdentity(
        spec_hash=spec_hash(spec),
        data_hash=data_hash,
        base_fingerprint=fingerprint(base),
        spec_fields=spec_fields(spec),
        adapter_hash=adapter_hash,
    )


def spec_fields(spec: RunSpec) -> dict[str, str]:
    """The fields that differ from their defaults, dotted path to JSON.

    Name, reports, place and devices are left out: they do not bear on the weights. Defaults are
    left out so that checkpoints stay valid when a later version adds a field.
    """
    document = _on_one_device(spec).model_dump(
        mode="json", exclude=NOT_IN_IDENTITY, exclude_defaults=True
    )
    return dict(_flattened(document, ()))


def spec_hash(spec: RunSpec) -> str:
    """A hash over the same fields as `spec_fields`."""
    document = _on_one_device(spec).model_dump_json(exclude=NOT_IN_IDENTITY, exclude_defaults=True)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def _on_one_device(spec: RunSpec) -> RunSpec:
    """The spec without the number of devices, which is no matter of the weights: a run goes on
    from its checkpoint on more devices or on fewer."""
    alone = spec.optimization.model_copy(update={"devices": 1, "sharding": "none"})
    return spec.model_copy(update={"optimization": alone})


def identity_changes(was: RunIdentity, now: RunIdentity) -> list[str]:
    """What differs between two identities, in words; empty where a checkpoint is resumable."""
    changed = []
    if was.spec_fields is None or now.spec_fields is None:
        if was.spec_hash != now.spec_hash:
            changed.append(tr("the spec"))
    else:
        paths = {**was.spec_fields, **now.spec_fields}
        before, after = was.spec_fields, now.spec_fields
        changed += [
            tr(
                "the spec's {path} ({before} then, {after} now)",
                path=path,
                before=before.get(path, tr("its default")),
                after=after.get(path, tr("its default")),
            )
            for path in paths
            if before.get(path) != after.get(path)
        ]
    if was.data_hash != now.data_hash:
        changed.append(tr("the dataset"))
    if was.adapter_hash != now.adapter_hash:
        changed.append(tr("the adapter that the run goes on from"))
    if was.base_fingerprint != now.base_fingerprint:
        changed.append(tr("the base model"))
    return changed


def _flattened(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        here = (*path, name)
        if isinstance(value, dict) and value:
            yield from _flattened(value, here)
        else:
            yield ".".join(here), json.dumps(value)
