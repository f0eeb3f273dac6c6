"""`provenance.json`: where a result comes from, written beside the saved weights."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

from lora_engine.adapters.config import PROVENANCE_VERSION
from lora_engine.chat_template import template_hash, templates_of
from lora_engine.training.checkpointing.identity import RunIdentity
from lora_engine.training.preparation import PreparedRun

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers")


def provenance(run: PreparedRun, identity: RunIdentity) -> bytes:
    """The run, its spec, base model, data, chat template and package versions, as JSON.

    `chat_template` is the name of the template the rows were written with, empty for none;
    `labels` are a classifier's classes in the order of its outputs.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    document: dict[str, Any] = {
        "version": PROVENANCE_VERSION,
        "run": run.directory.path.name,
        "spec": run.spec.model_dump(mode="json"),
        "base_model": run.base.name,
        "base_fingerprint": identity.base_fingerprint,
        "data_hash": identity.data_hash,
        "chat_template": run.data.template,
        "chat_template_hash": template_hash(templates_of(run.tokenizer)),
        **_start(run),
        **({"labels": list(run.data.labels)} if run.data.labels else {}),
        "versions": {"python": platform.python_version(), **versions},
    }
    return json.dumps(document, indent=1).encode()


def _start(run: PreparedRun) -> dict[str, Any]:
    """The adapter that the run went on from and the hash of its configuration and weights."""
    adapter = run.starting_adapter
    if adapter is None:
        return {}
    named = run.spec.method.init_from
    return {"init_from": {"adapter": named, "sha256": adapter.sha256}}
