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
from lora_engine.guarded.model_trial import MAX_MODULES, has_few_modules
from lora_engine.language import tr

TRIAL_SECONDS, TRIAL_MEMORY_BYTES = 4, 640 << 20
"""Of addresses: XLNet's large size reserves 480 MiB for weights that it never touches."""
PLAIN_TYPES = frozenset(
    [
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma3_text",
        "phi",
        "phi3",
        "gpt2",
        "gpt_neox",
        "gptj",
        "opt",
        "falcon",
        "bloom",
        "stablelm",
        "starcoder2",
        "olmo",
        "olmo2",
        "granite",
        "cohere",
        "cohere2",
        "smollm3",
        "glm",
        "glm4",
        "deepseek_v2",
        "deepseek_v3",
        "bert",
        "roberta",
        "xlm-roberta",
        "deberta-v2",
        "electra",
    ]
)
"""Built with every number at its highest and 512 layers, each takes under 2 s and 50 MiB."""
MOST_PLAIN_LAYERS = 256
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")
MOST_LAYERS_OF_EXPERTS = 50_000  # layers times experts; published models have up to 25,000


def refuse_costly_config(config: Mapping[str, Any], label: str) -> None:
    """Raises EngineError where building the model takes too many modules, too long or too much.

    config: as `check_config` gives it.
    """
    if config.get("model_type") in PLAIN_TYPES and _is_shallow(config):
        return
    try:
        is_small = _layers_of_experts(config) <= MOST_LAYERS_OF_EXPERTS and _has_few_modules(
            json.dumps(config, sort_keys=True)
        )
    except OutOfBounds as error:
        raise EngineError(
            tr(
                "The model that the config of {label} describes cannot be built here: {why}.",
                label=label,
                why=error,
            ),
            tr("Check its sizes, or take the config.json that came with the model."),
        ) from None
    if not is_small:
        raise EngineError(
            tr(
                "{label} would have more than {max_modules} modules.",
                label=label,
                max_modules=f"{MAX_MODULES:,}",
            ),
            tr("Check its numbers of layers and experts."),
        )


def _layers_of_experts(config: Mapping[str, Any]) -> int:
    """The most layers that a field names, times the most experts."""

    def most(word: str) -> int:
        numbers = (value for key, value in config.items() if word in key)
        return max((value for value in numbers if type(value) is int), default=1)

    return most("layer") * most("expert")


def _is_shallow(config: Mapping[str, Any]) -> bool:
    """Whether no part of the model has more layers than real ones."""
    return all(
        _is_shallow(value)
        if isinstance(value, Mapping)
        else key not in DEPTHS or (type(value) is int and value <= MOST_PLAIN_LAYERS)
        for key, value in config.items()
    )


@lru_cache(maxsize=64)
def _has_few_modules(config_json: str) -> bool:
    """Raises OutOfBounds, which is not kept: another time the machine may have less to do."""
    return bool(
        run_guarded(
            has_few_modules,
            [config_json],
            seconds=TRIAL_SECONDS,
            memory_bytes=TRIAL_MEMORY_BYTES,
            libraries=["torch", "transformers.modeling_utils"],
        )
    )
