"""Mismatches between adapters and a base, read from their small files before anything is loaded.

Does not look at shapes and values of weights, and says nothing about what it cannot read, such as a
hub model that is not downloaded: the check at loading (`adapters/check.py`) finds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.chat_template import UnreadableTemplate, template_hash, templates_in


@dataclass(frozen=True)
class AdapterMismatches:
    """Sentences by column, to follow the column's name. An adapter is in one of the two at most."""

    other_base: dict[str, str]
    other_template: dict[str, str]

    @property
    def all(self) -> dict[str, str]:
        """Both kinds, by column."""
        return {**self.other_base, **self.other_template}


def find_mismatches(base: BaseModel, adapters: Mapping[str, Path]) -> AdapterMismatches:
    """Which of the adapters, by column, were trained on another base or chat template.

    Raises EngineError for a provenance.json that is no JSON object.
    """
    found = AdapterMismatches({}, {})
    if base.path is None or not adapters:
        return found
    base_fingerprint, ours = fingerprint(base), _template_hash_in(base.path)
    for column, folder in adapters.items():
        provenance = read_provenance(folder) or {}
        trained_on, theirs = (
            provenance.get(key) for key in ("base_fingerprint", "chat_template_hash")
        )
        if isinstance(trained_on, str) and trained_on != base_fingerprint:
            named = str(provenance.get("base_model"))[:200]
            found.other_base[column] = (
                f"was trained on another base model ({named}): it will not be loaded on this one."
            )
        elif isinstance(theirs, str) and ours is not None and theirs != ours:
            found.other_template[column] = template_mismatch(theirs, ours)
    return found


def template_mismatch(theirs: str, ours: str) -> str:
    """The sentence that follows the name of an adapter whose template has another hash."""
    return (
        f"was trained with another chat template ({theirs[:64]}) than this base model has "
        f"({ours}): it reads the questions otherwise than in training."
    )


def _template_hash_in(folder: Path) -> str | None:
    """The hash of a model folder's chat template; None where only the tokenizer could tell."""
    try:
        return template_hash(templates_in(folder))
    except UnreadableTemplate:
        return None
