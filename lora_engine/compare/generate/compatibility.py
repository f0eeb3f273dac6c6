"""What is wrong with adapters on a base, read from their small files before anything is loaded.

The shapes and values of the weights are not looked at, and nothing is said of what cannot be read
here, such as a hub model that is not downloaded: the check at loading says the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.base_models import BaseModel, fingerprint, hash_of_template
from lora_engine.files import read_json_object

MAX_TEMPLATE_BYTES = 20_000_000


@dataclass(frozen=True)
class AdapterMismatches:
    """Sentences to stand behind a column's name. Each adapter is in one of the two at most."""

    other_base: dict[str, str]
    other_template: dict[str, str]

    @property
    def all(self) -> dict[str, str]:
        return {**self.other_base, **self.other_template}


def find_mismatches(base: BaseModel, adapters: Mapping[str, Path]) -> AdapterMismatches:
    """Which of the adapters, by column, were trained on another base or chat template.

    Raises EngineError for a provenance.json that is no JSON object.
    """
    found = AdapterMismatches({}, {})
    if base.path is None or not adapters:
        return found
    print_of_base, ours = fingerprint(base), _template_in(base.path)
    for column, folder in adapters.items():
        provenance = read_provenance(folder) or {}
        trained_on, theirs = (
            provenance.get(key) for key in ("base_fingerprint", "chat_template_hash")
        )
        if isinstance(trained_on, str) and trained_on != print_of_base:
            named = str(provenance.get("base_model"))[:200]
            found.other_base[column] = (
                f"was trained on another base model ({named}): it will not be loaded on this one."
            )
        elif isinstance(theirs, str) and ours is not None and theirs != ours:
            found.other_template[column] = other_template(theirs, ours)
    return found


def other_template(theirs: str, ours: str) -> str:
    """What to say behind the name of an adapter whose template has another hash."""
    return (
        f"was trained with another chat template ({theirs[:64]}) than this base model has "
        f"({ours}): it reads the questions otherwise than in training."
    )


def _template_in(folder: Path) -> str | None:
    """The hash of a model folder's chat template; None where only the tokenizer could tell."""
    own, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    path = own if own.is_file() else config
    if (folder / "additional_chat_templates").exists() or not path.is_file():
        return None
    if path.stat().st_size > MAX_TEMPLATE_BYTES:
        return None
    if path == own:
        return hash_of_template(path.read_text("utf-8", errors="replace"))
    try:
        template = read_json_object(path, MAX_TEMPLATE_BYTES).get("chat_template")
    except ValueError:
        return None
    return hash_of_template(template) if isinstance(template, str) else None
