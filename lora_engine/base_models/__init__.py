"""Base models: find one by its name, say what it is, fingerprint it, load it.

    find                  from a person's name to a folder or hub id; the list of those known here
    fingerprint           a hash that tells base models apart
    stored_quantization   models whose files hold quantized weights, which are refused
    load                  the model, quantized or not, and its tokenizer
    weight_shapes         names and shapes of weights, from the files' headers
    families              the classes of the common decoder layer, by name

Knows nothing of adapters or training. Importing this loads neither torch nor transformers.
"""

from lora_engine.base_models.find import (
    HUB_ID,
    STARTER,
    BaseModel,
    BaseModels,
    ModelSummary,
    list_base_models,
    resolve_base_model,
)
from lora_engine.base_models.fingerprint import fingerprint
from lora_engine.base_models.load import load_base_model, load_tokenizer
from lora_engine.base_models.stored_quantization import refuse_stored_quantization
from lora_engine.base_models.weight_shapes import (
    target_suffixes,
    weight_module_names,
    weight_shapes,
)

__all__ = [
    "HUB_ID",
    "STARTER",
    "BaseModel",
    "BaseModels",
    "ModelSummary",
    "fingerprint",
    "list_base_models",
    "load_base_model",
    "load_tokenizer",
    "refuse_stored_quantization",
    "resolve_base_model",
    "target_suffixes",
    "weight_module_names",
    "weight_shapes",
]
