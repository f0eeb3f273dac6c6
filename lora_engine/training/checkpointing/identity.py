"""What a run's weights belong to: the identity of its checkpoints, the provenance of its result."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Sequence
from typing import Any

from lora_engine.adapters.config import PROVENANCE_VERSION
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.spec import RunSpec
from lora_engine.training.checkpointing.checkpoints import Identity

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers")


def identity_of(spec: RunSpec, base: BaseModel, data_hash: str) -> Identity:
    """What a checkpoint of this run must agree with to be gone on from."""
    return Identity(
        spec_hash=spec_hash(spec),
        data_hash=data_hash,
        base_fingerprint=fingerprint(base),
        spec_fields=spec_fields(spec),
    )


def spec_fields(spec: RunSpec) -> dict[str, str]:
    """Everything that bears on the weights and is not at its default: dotted path to JSON.

    Name and reports may change freely. A field that a later version adds is at its default in the
    specs of an earlier one, so it does not make their checkpoints another run's.
    """
    told = spec.model_dump(mode="json", exclude={"name", "report"}, exclude_defaults=True)
    return dict(_flat(told, ()))


def spec_hash(spec: RunSpec) -> str:
    """Of what `spec_fields` tells."""
    told = spec.model_dump_json(exclude={"name", "report"}, exclude_defaults=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def changes_since(was: Identity, now: Identity) -> list[str]:
    """What is no longer as it was, each in words; empty where a checkpoint may be gone on from."""
    changed = []
    if was.spec_fields is None or now.spec_fields is None:
        if was.spec_hash != now.spec_hash:
            changed.append("the spec")
    else:
        paths = {**was.spec_fields, **now.spec_fields}
        before, after = was.spec_fields, now.spec_fields
        changed += [
            f"the spec's {path} ({before.get(path, 'its default')} then, "
            f"{after.get(path, 'its default')} now)"
            for path in paths
            if before.get(path) != after.get(path)
        ]
    if was.data_hash != now.data_hash:
        changed.append("the dataset")
    if was.base_fingerprint != now.base_fingerprint:
        changed.append("the base model")
    return changed


def _flat(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        here = (*path, name)
        if isinstance(value, dict) and value:
            yield from _flat(value, here)
        else:
            yield ".".join(here), json.dumps(value)


def provenance_of(
    run: str,
    spec: RunSpec,
    base: BaseModel,
    identity: Identity,
    chat_template_hash: str,
    chat_template: str,
    labels: Sequence[str],
) -> bytes:
    """`provenance.json`: where an adapter comes from, as JSON.

    chat_template: the name of the one the rows were written with, empty for none. labels: a
    classifier's classes in the order of its outputs.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    document = {
        "version": PROVENANCE_VERSION,
        "run": run,
        "spec": spec.model_dump(mode="json"),
        "base_model": base.name,
        "base_fingerprint": identity.base_fingerprint,
        "data_hash": identity.data_hash,
        "chat_template": chat_template,
        "chat_template_hash": chat_template_hash,
        **({"labels": list(labels)} if labels else {}),
        "versions": {"python": platform.python_version(), **versions},
    }
    return json.dumps(document, indent=1).encode()
