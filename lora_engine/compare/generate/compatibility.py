"""Mismatches between adapters and a base, read from their small files before anything is loaded.

Does not look at shapes and values of weights, and says nothing about what it cannot read, such as a
hub model that is not downloaded: the check at loading (`adapters/check.py`) finds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.adapters.kinds import KIND_NAMES, OtherConfig, read_any_config
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.chat_template import UnreadableTemplate, templates_in
from lora_engine.compare.prompts.prompt_form import AskAs, PromptForm, choose_form
from lora_engine.data.trained_template import trained_template
from lora_engine.errors import EngineError
from lora_engine.language import tr


@dataclass(frozen=True)
class AdapterMismatches:
    """Sentences by column, to follow the column's name. An adapter is in one of the two at most.

    other_template: it was trained with another chat template than it is asked in, or without one.
    """

    other_base: dict[str, str]
    other_template: dict[str, str]

    @property
    def all(self) -> dict[str, str]:
        """Both kinds, by column."""
        return {**self.other_base, **self.other_template}


def find_mismatches(
    base: BaseModel, adapters: Mapping[str, Path], ask_as: AskAs = "auto"
) -> AdapterMismatches:
    """Which of the adapters, by column, were trained on another base, or otherwise than they are
    asked.

    Raises EngineError for a provenance.json that is no JSON object.
    """
    found = AdapterMismatches({}, {})
    if base.path is None or not adapters:
        return found
    base_fingerprint = fingerprint(base)
    for column, folder in adapters.items():
        provenance = read_provenance(folder) or {}
        trained_on = provenance.get("base_fingerprint")
        if isinstance(trained_on, str) and trained_on != base_fingerprint:
            named = str(provenance.get("base_model"))[:200]
            found.other_base[column] = tr(
                "was trained on another base model ({named}): it will not be loaded on this one.",
                named=named,
            )
    fitting = {name: path for name, path in adapters.items() if name not in found.other_base}
    return AdapterMismatches(
        found.other_base, dict(form_before_loading(base, fitting, ask_as).otherwise)
    )


def form_before_loading(
    base: BaseModel, adapters: Mapping[str, Path], ask_as: AskAs = "auto"
) -> PromptForm:
    """How a comparison of these will ask, from their small files alone.

    Raises EngineError for a provenance.json that is no JSON object.
    """
    trained = {column: trained_template(folder) for column, folder in adapters.items()}
    try:
        if base.path is not None:
            return choose_form(templates_in(base.path), trained, ask_as)
    except UnreadableTemplate:
        pass  # the tokenizer, once loaded, can tell
    return choose_form(None, trained, ask_as, base_is_known=False)


def fixed_because(folder: Path) -> str:
    """Why an adapter has no strength to change and no layers to leave out; empty where it has.

    Decided from its configuration alone: the check at loading finds what only the weights tell.
    """
    try:
        config = read_any_config(folder)
    except EngineError:
        return ""  # whoever asks this adapter is told what is wrong with it
    if isinstance(config, OtherConfig):
        kind = tr(KIND_NAMES[config.kind])
        tokens = tr("{kind}: its trained tokens are there or they are not.", kind=kind)
        return tokens if config.virtual_tokens else ""
    whole = tr("Fixed: this adapter uses DoRA, biases or modules trained whole.")
    has_parts = config.use_dora or config.lora_bias or config.modules_to_save
    return whole if has_parts or config.bias != "none" else ""
