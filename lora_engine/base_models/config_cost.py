"""A model's config.json that would cost too much to build: found out in a guarded process, once.

Fields that multiply pass any bound on one field, and some classes fill tables as long as a field
says. Well-known types cost what their layers cost, so their sizes answer. Any other type is built
without weights in a guarded process before it is built here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.guard import OutOfBounds, run_guarded
from lora_engine.guarded.model_trial import try_model
from lora_engine.language import language, tr

TRIAL_SECONDS, TRIAL_MEMORY_BYTES = 4, 160 << 20
PLAIN_TYPES = frozenset(
    ("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2")
    + ("gemma3", "gemma3_text", "phi", "phi3", "gpt2", "gpt_neox", "gptj", "opt", "falcon", "bloom")
    + ("stablelm", "starcoder2", "olmo", "olmo2", "granite", "cohere", "cohere2", "smollm3", "glm")
    + (
        "glm4",
        "deepseek_v2",
        "deepseek_v3",
        "bert",
        "roberta",
        "xlm-roberta",
        "deberta-v2",
        "electra",
    )
)
"""Built with every number at its highest and 512 layers, each takes under 2 s and 50 MiB."""
MOST_PLAIN_LAYERS = 256
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")


def refuse_costly_config(config: Mapping[str, Any], label: str) -> None:
    """Raises EngineError where building the model takes too many modules, too long or too much.

    config: as `check_config` gives it.
    """
    if config.get("model_type") in PLAIN_TYPES and _is_shallow(config):
        return
    try:
        fault = _fault(json.dumps(config, sort_keys=True), label, language())
    except OutOfBounds as error:
        raise EngineError(
            tr(
                "The model that the config of {label} describes cannot be built here: {why}.",
                label=label,
                why=error,
            ),
            tr("Check its sizes, or take the config.json that came with the model."),
        ) from None
    if fault:
        raise EngineError(*fault)


def _is_shallow(config: Mapping[str, Any]) -> bool:
    """Whether no part of the model has more layers than real ones."""
    return all(
        _is_shallow(value)
        if isinstance(value, Mapping)
        else key not in DEPTHS or (type(value) is int and value <= MOST_PLAIN_LAYERS)
        for key, value in config.items()
    )


@lru_cache(maxsize=64)
def _fault(config_json: str, label: str, _language: str) -> tuple[str, str] | None:
    """Problem and remedy, None where the model can be built. The language is of the cache's key.

    Raises OutOfBounds, which is not kept: another time the machine may have less to do.
    """
    try:
        run_guarded(
            try_model,
            [config_json, label],
            seconds=TRIAL_SECONDS,
            memory_bytes=TRIAL_MEMORY_BYTES,
            libraries=["torch", "transformers.modeling_utils"],
        )
    except EngineError as error:
        return error.problem, error.remedy
    return None
