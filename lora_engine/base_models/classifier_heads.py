"""What of a classification model is its head, and so is drawn anew, trains whole and is saved.

All that stands beside the encoder in transformers' class, and a pooler that the checkpoint does not
have. PEFT knows the names `classifier` and `score` alone; a head in two parts (DistilBERT's
`pre_classifier`, DeBERTa's `pooler`) would be left out of the adapter's file, with weights that
nobody can draw again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.find import BaseModel
from lora_engine.base_models.weight_files import local_folder, weight_files

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

POOLER = "pooler"


def head_modules(model: PreTrainedModel, base: BaseModel) -> list[str]:
    """The names of the modules that make up the head of a classification model."""
    body = model.base_model_prefix
    names = [
        name
        for name, module in model.named_children()
        if name != body and next(module.parameters(), None) is not None
    ]
    encoder = getattr(model, body)
    has_pooler = getattr(encoder, POOLER, None) is not None
    return [*names, POOLER] if has_pooler and not _stores_pooler(base) else names


def patterns_of_heads(auto: Any, config: PretrainedConfig) -> list[str]:
    """Patterns of the modules that quantization leaves alone: a classifier's head and its pooler.

    As transformers matches them: from the start of a name to the end of one of its parts. Empty for
    models of other uses. auto: one of transformers' automatic classes.
    """
    if "Classification" not in auto.__name__:
        return []
    body = re.escape(auto._model_mapping[type(config)].base_model_prefix)
    return [rf"(?!{body}\.)[^.]+", rf"{body}\.{POOLER}"]


def _stores_pooler(base: BaseModel) -> bool:
    """Whether the checkpoint has weights of a pooler; yes for one whose files are not here."""
    folder = local_folder(base)
    if folder is None:
        return True
    keys = (key for file in weight_files(folder) for key in file.tensors)
    return any(f"{POOLER}." in key for key in keys)


def stores_head(model: PreTrainedModel, base: BaseModel) -> bool:
    """Whether the checkpoint has the whole head of this model, of the same shapes."""
    folder = local_folder(base)
    if folder is None:
        return False
    stored = {
        key: tuple(entry.shape)
        for file in weight_files(folder)
        for key, entry in file.tensors.items()
    }
    names = tuple(f"{name}." for name in head_modules(model, base))
    head = {
        name.replace(".original_module", ""): tuple(parameter.shape)
        for name, parameter in model.named_parameters()
        if name.startswith(names) and ".modules_to_save." not in name
    }
    return bool(head) and all(stored.get(name) == shape for name, shape in head.items())
