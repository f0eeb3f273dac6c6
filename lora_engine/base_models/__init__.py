"""Base models: find one by its name, say what it is, fingerprint it, load it.

    find                  from a person's name to a folder or hub id; the list of those known here
    fingerprint           a hash that tells base models apart
    config_file           config.json, from a folder, the cache or the hub
    weight_files          the files a model is loaded from, and what their headers say
    causal_models         which models are causal language models
    stored_quantization   models whose files hold quantized weights: read or refused
    quantization_methods  fp8_scales   the methods, and which FP8 is read
    load                  the model, quantized or not, and its tokenizer
    pretrained            the one call of transformers' from_pretrained
    stored_size           the files can hold what config.json describes
    load_report           finite_weights   every weight is there, and is a number
    model_config          config.json as untrusted input, read in bounds
    config_cost           configs that would cost too much to build, tried in a guarded process
    token_ids             the ids an embedding has rows for, and those a tokenizer gives out
    tokenizer_files       a tokenizer's files as untrusted input, tried in a guarded process
    classifier_heads      which modules of a classification model are its head
    layer_list            a model's layers, by name
    adaptable             modules that an adapter leaves alone, and why
    weight_shapes         names, shapes and formats of weights, from the files' headers
    families              the classes of the common decoder layer, by name

Knows nothing of adapters or training. Importing this loads neither torch nor transformers.
"""

from lora_engine.base_models.causal_models import refuse_no_causal_model, refuse_other_task_of
from lora_engine.base_models.classifier_heads import head_modules
from lora_engine.base_models.find import (
    BUNDLED,
    HUB_ID,
    STARTER,
    STARTER_ENCODER,
    BaseModel,
    BaseModels,
    ModelSummary,
    list_base_models,
    resolve_base_model,
)
from lora_engine.base_models.fingerprint import fingerprint
from lora_engine.base_models.load import load_base_model, load_tokenizer
from lora_engine.base_models.load_report import refuse_incomplete
from lora_engine.base_models.model_config import read_config
from lora_engine.base_models.pretrained import load_pretrained
from lora_engine.base_models.stored_quantization import (
    StoredQuantization,
    spec_on_base,
    stored_quantization,
)
from lora_engine.base_models.weight_shapes import (
    stored_types,
    target_suffixes,
    weight_module_names,
    weight_numbers,
    weight_shapes,
)

__all__ = [
    "BUNDLED",
    "HUB_ID",
    "STARTER",
    "STARTER_ENCODER",
    "BaseModel",
    "BaseModels",
    "ModelSummary",
    "StoredQuantization",
    "fingerprint",
    "head_modules",
    "list_base_models",
    "load_base_model",
    "load_tokenizer",
    "load_pretrained",
    "read_config",
    "refuse_incomplete",
    "refuse_no_causal_model",
    "refuse_other_task_of",
    "resolve_base_model",
    "spec_on_base",
    "stored_quantization",
    "stored_types",
    "target_suffixes",
    "weight_module_names",
    "weight_numbers",
    "weight_shapes",
]
