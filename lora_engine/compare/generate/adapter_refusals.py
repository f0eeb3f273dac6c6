"""Why a checked adapter cannot be put on a loaded model, in plain words instead of PEFT's."""

from __future__ import annotations

from collections.abc import Sequence

from lora_engine.adapters.check import AdapterCheck
from lora_engine.adapters.config import MERGE
from lora_engine.adapters.other_check import OtherCheck
from lora_engine.errors import EngineError
from lora_engine.language import tr


def refuse_untargeted(check: AdapterCheck, modules: Sequence[str]) -> None:
    """Raises EngineError for modules of the file that its configuration leaves out."""
    if modules and check.config.ensure_weight_tying:
        raise EngineError(
            tr(
                "The adapter in {path} has factors for the embedding and for the head that is tied "
                "to it (ensure_weight_tying), which Rankscope cannot apply.",
                path=check.path,
            ),
            tr(MERGE),
        )
    if modules:
        raise EngineError(
            tr(
                "The adapter in {path} holds factors of {modules}, which target_modules, "
                "exclude_modules, layers_to_transform or modules_to_save of its "
                "adapter_config.json leave out: PEFT would not load them.",
                path=check.path,
                modules=modules[0],
            ),
            tr("Check that adapter_config.json and the weights belong together."),
        )


def does_not_fit(check: AdapterCheck | OtherCheck, words: str) -> EngineError:
    """PEFT's refusal of an adapter, in plain words."""
    if "fused" in words and isinstance(check, AdapterCheck):
        return _single_experts(check)
    return EngineError(
        tr(
            "The adapter in {path} does not fit the base model: its factors have other names "
            "or shapes than the model's layers.",
            path=check.path,
        ),
        tr("Choose the base model that this adapter was trained on."),
    )


def not_whole(check: AdapterCheck | OtherCheck, left_out: Sequence[str]) -> EngineError:
    """Weights that found no counterpart in the model."""
    if isinstance(check, AdapterCheck) and any(
        ".experts." in module for module in check.keys.factors
    ):
        return _single_experts(check)
    return EngineError(
        tr(
            "The adapter in {path} is not whole on this base model: {count} weights have no "
            "counterpart, such as {left_out}.",
            path=check.path,
            count=len(left_out),
            left_out=left_out[0],
        ),
        tr("Copy the adapter again from where it was saved, or train it again."),
    )


def _single_experts(check: AdapterCheck) -> EngineError:
    return EngineError(
        tr(
            "The adapter in {path} adapts experts one by one, as transformers 4 had them, "
            "and PEFT cannot put it on the fused experts of this base model.",
            path=check.path,
        ),
        tr(
            "Merge it into its base with the transformers 4 that trained it "
            "(merge_and_unload), and give the merged folder as the base model."
        ),
    )
