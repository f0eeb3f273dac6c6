"""From a checked config to the real model class on the meta device: shapes without weights.

transformers builds the model that `architectures` names; no code of the config's is run
(trust_remote_code stays False), no file is fetched, and a model that would cost too much is refused
before it is built. This module knows nothing of adapters.
"""

from __future__ import annotations

import threading
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.config_cost import refuse_costly_config
from lora_engine.calculator.model_source import ModelSource
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.library_imports import import_transformers

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

# transformers changes process-wide state (default dtype, patched functions) while it builds.
_BUILDING = threading.Lock()

# The order in which a class is looked for when `architectures` names none.
MAPPING_NAMES = (
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
    "MODEL_FOR_MASKED_LM_MAPPING",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_MAPPING",
)


def build_meta_model(source: ModelSource) -> PreTrainedModel:
    """The model of `source` with every parameter on the meta device, base weights tied.

    Raises InvalidInput naming `model_type`, `architectures` or the field that is missing, and
    EngineError with transformers' own words where the values do not make a model, and as
    `refuse_costly_config` does.
    """
    import torch

    refuse_costly_config(source.config, source.label)
    config = read_config(source)
    model_class = _model_class(source, config)
    try:
        with _BUILDING, torch.device("meta"):
            return model_class._from_config(
                config, attn_implementation="eager", dtype=torch.float32
            )
    except build_errors() as error:
        raise _not_a_model(source, error) from error


def embeddings_of(model: PreTrainedModel) -> tuple[nn.Module | None, nn.Module | None]:
    """The input embedding and the head, None where the model has none.

    transformers raises for a model with several inputs (CLIP), or with a list of them.
    """
    from torch import nn

    try:
        embedding = model.get_input_embeddings()
    except (NotImplementedError, AttributeError, KeyError):
        embedding = None
    head = model.get_output_embeddings()
    return (
        embedding if isinstance(embedding, nn.Module) else None,
        head if isinstance(head, nn.Module) else None,
    )


def build_errors() -> tuple[type[Exception], ...]:
    """What transformers and PEFT raise on values that do not make a model."""
    from huggingface_hub.errors import StrictDataclassError

    return (
        StrictDataclassError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        ImportError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    )


def read_config(source: ModelSource) -> PretrainedConfig:
    """The transformers config object of `source`. Raises as `build_meta_model` does."""
    import_transformers()
    from transformers import CONFIG_MAPPING

    given = source.config
    model_type = given["model_type"]
    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type[:100], list(CONFIG_MAPPING.keys()), n=3)
        given_type = f"{model_type[:100]!r}"
        message = (
            tr(
                "got {name}, which this transformers does not know; near it are {near}",
                name=given_type,
                near=", ".join(near),
            )
            if near
            else tr("got {name}, which this transformers does not know", name=given_type)
        )
        remedy = tr("Use a model_type that transformers has without code from the hub.")
        raise InvalidInput(source.label, [FieldProblem("model_type", message)], remedy)
    try:
        config_class = CONFIG_MAPPING[model_type]
        problems = _missing_fields(given, config_class, "")
        if problems:
            remedy = tr("Add them: transformers would silently take another model's numbers.")
            raise InvalidInput(tr("The config of {label}", label=source.label), problems, remedy)
        return config_class.from_dict(given)
    except build_errors() as error:
        raise _not_a_model(source, error) from error


def defaulted_fields(source: ModelSource) -> tuple[str, ...]:
    """Warnings for shape fields that `source` leaves out, so that transformers' default counts."""
    import_transformers()
    from transformers import CONFIG_MAPPING

    given = source.config
    config_class = CONFIG_MAPPING[given["model_type"]]
    if config_class.sub_configs:
        return ()
    config = config_class.from_dict(given)
    warnings = []
    for name in ("vocab_size", "num_attention_heads", "intermediate_size", "num_key_value_heads"):
        default = getattr(config, name, None)
        if default is not None and not _has(given, config_class, name):
            warnings.append(
                tr(
                    "{name} is not in the config; transformers takes {default}.",
                    name=name,
                    default=f"{default:,}",
                )
            )
    return tuple(warnings)


def _missing_fields(
    given: dict[str, Any], config_class: type[PretrainedConfig], path: str
) -> list[FieldProblem]:
    """Width and depth, which a config must state: transformers has a default for both."""
    sub_configs = config_class.sub_configs
    if sub_configs:
        return [
            problem
            for name, sub_class in sub_configs.items()
            if isinstance(given.get(name), dict) and hasattr(sub_class, "attribute_map")
            for problem in _missing_fields(given[name], sub_class, f"{path}{name}.")
        ]
    defaults = config_class()
    return [
        FieldProblem(f"{path}{_spelling(config_class, name)}", tr("is missing"))
        for name in ("hidden_size", "num_hidden_layers")
        if isinstance(getattr(defaults, name, None), int) and not _has(given, config_class, name)
    ]


def _has(given: dict[str, Any], config_class: type[PretrainedConfig], name: str) -> bool:
    return name in given or _spelling(config_class, name) in given


def _spelling(config_class: type[PretrainedConfig], name: str) -> str:
    """How this class spells a standard field: GPT-2 calls hidden_size n_embd."""
    return config_class.attribute_map.get(name, name)


def _model_class(source: ModelSource, config: PretrainedConfig) -> type[PreTrainedModel]:
    """The class `architectures` names, out of those transformers registers for this config."""
    from transformers.models.auto import modeling_auto

    known: dict[str, type[PreTrainedModel]] = {}
    for mapping_name in MAPPING_NAMES:
        mapping = getattr(modeling_auto, mapping_name)
        found = mapping.get(type(config), ())
        for model_class in found if isinstance(found, list | tuple) else (found,):
            known.setdefault(model_class.__name__, model_class)
    asked = source.config.get("architectures") or []
    first = asked[0] if isinstance(asked, list) and asked else None
    if isinstance(first, str) and first in known:
        return known[first]
    if asked or not known:
        message = tr(
            "got {asked}, {known} can be built",
            asked=str(asked)[:100],
            known=", ".join(known) or tr("none"),
        )
        remedy = tr("Name one of these classes first in architectures.")
        raise InvalidInput(source.label, [FieldProblem("architectures", message)], remedy)
    return next(iter(known.values()))


def _not_a_model(source: ModelSource, error: Exception) -> EngineError:
    model_type = source.config["model_type"]
    said = " ".join(str(error).split())[:300]
    return EngineError(
        tr(
            "transformers cannot build a {model_type} from the config of {label}: {name__}: "
            "{said}.",
            model_type=model_type,
            label=source.label,
            name__=type(error).__name__,
            said=said,
        ),
        tr("Correct the field named there, or take the config.json that came with the model."),
    )
