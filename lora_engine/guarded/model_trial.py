"""A model built without weights from a config.json, in a guarded process, to see that it can be.

transformers builds the class that `architectures` names, or the first that it has for the type. A
config that makes no model at all passes: whoever uses it says so in words of its own.
"""

from __future__ import annotations

import json
from typing import Any

from lora_engine.operating_system import is_near_memory_limit

MAX_MODULES = 10_000
"""The largest published models have some 8,000, where each expert is a module of its own."""
SPARE_BYTES = 16 << 20
MAPPINGS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
    "MODEL_FOR_MASKED_LM_MAPPING",
    "MODEL_MAPPING",
)


class _TooMany(Exception):
    """The model has more modules than are allowed."""


def has_few_modules(config_json: str) -> bool:
    """Whether the model has at most MAX_MODULES, or is none."""
    import torch
    from torch.nn.modules.module import register_module_module_registration_hook

    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > MAX_MODULES:
            raise _TooMany

    register_module_module_registration_hook(counted)
    try:
        with torch.device("meta"):
            _build(json.loads(config_json))
    except _TooMany:
        return False
    except Exception as error:  # noqa: BLE001 - whoever uses the config meets it again
        if is_near_memory_limit(SPARE_BYTES):  # what libraries raise then has any name
            raise MemoryError from error
    return True


def _build(given: dict[str, Any]) -> None:
    import torch
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto

    config = CONFIG_MAPPING[given["model_type"]].from_dict(given)
    known: dict[str, Any] = {}
    for name in MAPPINGS:
        found = getattr(modeling_auto, name).get(type(config), ())
        for one in found if isinstance(found, list | tuple) else (found,):
            known.setdefault(one.__name__, one)
    asked = given.get("architectures")
    first = asked[0] if isinstance(asked, list) and asked else None
    model_class = known.get(str(first)) or next(iter(known.values()))
    model_class._from_config(config, attn_implementation="eager", dtype=torch.float32)
