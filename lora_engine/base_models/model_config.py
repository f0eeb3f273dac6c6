"""A model's config.json as untrusted input: read in bounds, and checked before it is used.

Reads at most 1 MiB of JSON, drops every key that could load code, kernels or other weights, and
bounds every number, so that no config asks for a billion layers. It knows names of fields, not
classes: whether transformers can build the model is found out by building it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.files import TooLarge, read_json_object
from lora_engine.language import tr

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 1 << 20
MAX_DEPTH = 6
MAX_LIST = 100_000
MAX_SIZE = 2_000_000  # hidden sizes, vocabularies
MAX_COUNT = 512  # layers, heads, experts; the deepest well-known models have about 130 layers
MAX_LABELS = 200_000
MAX_LENGTH = 1 << 31  # context lengths and token ids build nothing

# Keys that name code, kernels or weights to fetch: never used, whatever they say.
DROPPED_KEYS = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "_name_or_path",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "_experts_implementation",
        "attn_implementation",
        "experts_implementation",
        "quantization_config",
        "use_kernels",
        "id2label",
        "label2id",
        "task_specific_params",
    }
)
POSITIVE_KEYS = frozenset(
    ("hidden_size", "n_embd", "d_model", "d_ff", "d_kv", "ffn_dim", "intermediate_size")
    + ("vocab_size", "head_dim", "image_size", "patch_size", "num_local_experts", "num_experts")
    + ("num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head", "num_heads")
    + ("num_key_value_heads",)
)
OPEN_RANGES = frozenset(("time_step_limit",))  # Mamba 2 writes Infinity for no upper bound
REFUSED_KEYS = frozenset({"backbone", "backbone_config", "use_pretrained_backbone"})
COUNT_WORDS = ("layer", "depth", "head", "expert", "block", "stage", "tower")
LENGTH_WORDS = ("position", "length", "token_id", "max_seq", "_theta", "window", "n_ctx")


def read_config(folder: Path) -> dict[str, Any]:
    """The checked config.json of a model folder.

    Raises as `read_config_file` and `check_config` do.
    """
    kept, _ = check_config(read_config_file(folder / CONFIG_FILE), folder.name)
    return kept


def read_config_file(file: Path) -> dict[str, Any]:
    """The JSON object in a config.json, its values not looked at.

    Raises EngineError for what cannot be read, is no JSON object or has more than 1 MiB.
    """
    try:
        return read_json_object(file, MAX_CONFIG_BYTES)
    except TooLarge:
        raise EngineError(
            tr("{file} is larger than 1 MiB, which no model's config is.", file=file),
            tr("Name the config.json of a model, not its weights."),
        ) from None
    except UnicodeDecodeError:
        raise EngineError(
            tr("{file} is no text in UTF-8, so it is no JSON.", file=file),
            tr("Name the config.json of a model."),
        ) from None
    except ValueError as error:
        raise EngineError(
            tr("{file} is no JSON object: {error}.", file=file, error=error),
            tr("Name the config.json of a model."),
        ) from None
    except OSError as error:
        raise EngineError(
            tr("{file} cannot be read: {strerror}.", file=file, strerror=error.strerror),
            tr("Check the file and who may read it."),
        ) from None


def check_config(config: Any, label: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The config without what is never used, and notes for the person about what was dropped.

    Raises InvalidInput naming every field that is missing, of a wrong kind or out of bounds.
    """
    if not isinstance(config, Mapping):
        problem = FieldProblem(
            "config.json", tr("a JSON object is allowed, got {config}", config=type(config))
        )
        raise InvalidInput(label, [problem], tr("Give the config.json of a model."))
    notes: list[str] = []
    problems: list[FieldProblem] = []
    kept = _checked_mapping(config, "", 0, problems, notes)
    model_type = kept.get("model_type")
    if "peft_type" in config:
        message = tr("is an adapter's config; the base model's config.json is needed")
        problems.append(FieldProblem("peft_type", message))
    elif not isinstance(model_type, str) or not model_type:
        problems.append(
            FieldProblem("model_type", tr("is missing; a name such as llama is needed"))
        )
    if problems:
        remedy = tr("Correct these fields, or take the config.json that came with the model.")
        raise InvalidInput(tr("The config of {label}", label=label), problems, remedy)
    return kept, tuple(notes)


def _checked_mapping(
    given: Mapping[str, Any],
    path: str,
    depth: int,
    problems: list[FieldProblem],
    notes: list[str],
) -> dict[str, Any]:
    """`given` without dropped keys; appends every bound crossed to `problems`."""
    if depth > MAX_DEPTH:
        problems.append(
            FieldProblem(
                path.rstrip("."),
                tr("is nested deeper than {max_depth} levels", max_depth=MAX_DEPTH),
            )
        )
        return {}
    kept: dict[str, Any] = {}
    for key, value in given.items():
        where = f"{path}{str(key)[:60]}"
        if key in DROPPED_KEYS:
            if key in ("quantization_config", "auto_map") and value:
                notes.append(
                    tr(
                        "{field} is ignored: shapes are counted as not quantized, without it.",
                        field=where,
                    )
                )
            continue
        if key in REFUSED_KEYS and value:
            problems.append(
                FieldProblem(where, tr("names another model to load, which is not done"))
            )
        elif isinstance(value, list):
            numbers = [_number(item) for item in value]
            problems.extend(_value_problems(where, str(key), numbers))
            kept[key] = numbers
        elif isinstance(value, Mapping):
            kept[key] = _checked_mapping(value, f"{where}.", depth + 1, problems, notes)
        else:
            problems.extend(_value_problems(where, str(key), value))
            kept[key] = value
    return kept


def _number(value: Any) -> Any:
    """transformers writes a float that JSON has no name for as {"__float__": "Infinity"}."""
    written = value.get("__float__") if isinstance(value, Mapping) else None
    known = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
    return known.get(written, value) if isinstance(written, str) else value


def _value_problems(where: str, key: str, value: Any) -> list[FieldProblem]:
    """Bounds of one plain value or list of plain values."""
    if isinstance(value, list):
        if len(value) > MAX_LIST:
            return [
                FieldProblem(
                    where,
                    tr(
                        "lists {count} values, {max_list} are allowed",
                        count=f"{len(value):,}",
                        max_list=f"{MAX_LIST:,}",
                    ),
                )
            ]
        return [
            found
            for item in value
            if not isinstance(item, Mapping)
            for found in _value_problems(where, key, item)
        ][:1]
    if isinstance(value, float) and not math.isfinite(value) and key not in OPEN_RANGES:
        return [FieldProblem(where, tr("got {value}, a finite number is allowed", value=value))]
    if isinstance(value, bool) or not isinstance(value, int):
        return []
    highest = _highest(key.lower())
    lowest = 1 if key in POSITIVE_KEYS else -MAX_LENGTH
    if not lowest <= value <= highest:
        return [
            FieldProblem(
                where,
                tr(
                    "got {value}, {lowest} to {highest} is allowed",
                    value=f"{value:,}",
                    lowest=f"{lowest:,}",
                    highest=f"{highest:,}",
                ),
            )
        ]
    return []


def _highest(key: str) -> int:
    """The largest integer a field of this name may hold."""
    if any(word in key for word in LENGTH_WORDS):
        return MAX_LENGTH
    if "label" in key:
        return MAX_LABELS
    if any(word in key for word in COUNT_WORDS) and not key.endswith(("dim", "_size")):
        return MAX_COUNT
    return MAX_SIZE
