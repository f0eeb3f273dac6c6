"""What a run's weights belong to: the identity of its checkpoints, the provenance of its result."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence

from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.training.checkpoints import Identity
from lora_engine.training.spec import RunSpec

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers")


def identity_of(spec: RunSpec, base: BaseModel, data_hash: str) -> Identity:
    """What a checkpoint of this run must agree with to be gone on from."""
    return Identity(
        spec_hash=spec_hash(spec), data_hash=data_hash, base_fingerprint=fingerprint(base)
    )


def spec_hash(spec: RunSpec) -> str:
    """Over everything that bears on the weights: the name and the reports may change freely.

    Values at their defaults are left out, so that a field which a later version adds does not
    make the checkpoints of an earlier one another run's.
    """
    told = spec.model_dump_json(exclude={"name", "report"}, exclude_defaults=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


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
