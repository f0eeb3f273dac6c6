"""Which model to count: a preset, a folder, a config.json or a mapping, checked before use.

The one way in for configs. It reads at most 1 MiB of JSON, drops every key that could load code,
kernels or other weights, and bounds every number. It knows names of fields, not classes: whether
transformers can build the model is decided in `meta_model.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lora_engine.calculator.presets import PRESETS
from lora_engine.errors import EngineError, FieldProblem, InvalidInput, NotFound
from lora_engine.files import TooLarge, read_json_object

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
REFUSED_KEYS = frozenset({"backbone", "backbone_config", "use_pretrained_backbone"})
COUNT_WORDS = ("layer", "depth", "head", "expert", "block", "stage", "tower")
LENGTH_WORDS = ("position", "length", "token_id", "max_seq", "_theta", "window", "n_ctx")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z")


@dataclass(frozen=True)
class ModelSource:
    """A checked model configuration.

    label: what to call it on a screen.
    config_json: the checked config as canonical JSON; equal text means an equal model.
    notes: what was left out of the given file, for the person.
    """

    label: str
    config_json: str
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self.config_json)


def preset_source(name: str) -> ModelSource:
    """The preset called `name`. Raises NotFound listing near names, or all of them."""
    if name not in PRESETS:
        near = get_close_matches(str(name)[:100], PRESETS, n=3) or sorted(PRESETS)
        raise NotFound(
            f"There is no preset called {str(name)[:100]!r}.", f"Presets: {', '.join(near)}."
        )
    return config_source(PRESETS[name].config, PRESETS[name].title)


def path_source(path: str | Path) -> ModelSource:
    """The config.json at `path`, or in the folder `path`.

    Raises NotFound if there is none, EngineError if it is no JSON object of at most 1 MiB, and
    InvalidInput naming each field that is out of bounds.
    """
    given = Path(path).expanduser()
    file = given / "config.json" if given.is_dir() else given
    if not file.is_file():
        raise NotFound(f"There is no file {file}.", "Name a model's folder or its config.json.")
    try:
        config = read_json_object(file, MAX_CONFIG_BYTES)
    except TooLarge:
        raise EngineError(
            f"{file} is larger than 1 MiB, which no model's config is.",
            "Name the config.json of a model, not its weights.",
        ) from None
    except ValueError as error:
        raise EngineError(
            f"{file} is no JSON object: {error}.", "Name the config.json of a model."
        ) from None
    return config_source(config, given.name if given.is_dir() else given.parent.name or given.name)


def hub_source(repo_id: str) -> ModelSource:
    """The config.json of a model on the hub, fetched because the person named it; nothing else is.

    Raises InvalidInput if it is no hub id, EngineError if the file cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(repo_id, str) or not _HUB_ID.match(repo_id) or len(repo_id) > 96:
        found = f"got {str(repo_id)[:100]!r}; organisation/name is allowed"
        problem = FieldProblem("hub id", found)
        raise InvalidInput("The model", [problem], "Name it as on its page on the hub.")
    try:
        file = hf_hub_download(repo_id, "config.json")
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise EngineError(
            f"The config of {repo_id} cannot be fetched: {reason}",
            "Check the name and the network, or give a folder that holds the model's config.json.",
        ) from error
    source = path_source(file)
    return replace(source, label=repo_id)


def config_source(config: Any, label: str = "config.json") -> ModelSource:
    """A config that is already parsed.

    Raises InvalidInput naming every field that is missing, of a wrong kind or out of bounds.
    """
    if not isinstance(config, Mapping):
        problem = FieldProblem("config.json", f"a JSON object is allowed, got {type(config)}")
        raise InvalidInput(label, [problem], "Give the config.json of a model.")
    notes: list[str] = []
    problems: list[FieldProblem] = []
    kept = _checked_mapping(config, "", 0, problems, notes)
    model_type = kept.get("model_type")
    if "peft_type" in config:
        message = "is an adapter's config; the base model's config.json is needed"
        problems.append(FieldProblem("peft_type", message))
    elif not isinstance(model_type, str) or not model_type:
        problems.append(FieldProblem("model_type", "is missing; a name such as llama is needed"))
    if problems:
        remedy = "Correct these fields, or take the config.json that came with the model."
        raise InvalidInput(f"The config of {label}", problems, remedy)
    return ModelSource(label, json.dumps(kept, sort_keys=True), tuple(notes))


def _checked_mapping(
    given: Mapping[str, Any],
    path: str,
    depth: int,
    problems: list[FieldProblem],
    notes: list[str],
) -> dict[str, Any]:
    """`given` without dropped keys; appends every bound crossed to `problems`."""
    if depth > MAX_DEPTH:
        problems.append(FieldProblem(path.rstrip("."), f"is nested deeper than {MAX_DEPTH} levels"))
        return {}
    kept = {}
    for key, value in given.items():
        where = f"{path}{str(key)[:60]}"
        if key in DROPPED_KEYS:
            if key in ("quantization_config", "auto_map") and value:
                notes.append(
                    f"{where} is ignored: shapes are counted as not quantized, without it."
                )
            continue
        if key in REFUSED_KEYS and value:
            problems.append(FieldProblem(where, "names another model to load, which is not done"))
        elif isinstance(value, Mapping):
            kept[key] = _checked_mapping(value, f"{where}.", depth + 1, problems, notes)
        else:
            problems.extend(_value_problems(where, str(key), value))
            kept[key] = value
    return kept


def _value_problems(where: str, key: str, value: Any) -> list[FieldProblem]:
    """Bounds of one plain value or list of plain values."""
    if isinstance(value, list):
        if len(value) > MAX_LIST:
            return [FieldProblem(where, f"lists {len(value):,} values, {MAX_LIST:,} are allowed")]
        return [
            found
            for item in value
            if not isinstance(item, Mapping)
            for found in _value_problems(where, key, item)
        ][:1]
    if isinstance(value, float) and not math.isfinite(value):
        return [FieldProblem(where, f"got {value}, a finite number is allowed")]
    if isinstance(value, bool) or not isinstance(value, int):
        return []
    highest = _highest(key.lower())
    lowest = 1 if key in POSITIVE_KEYS else -MAX_LENGTH
    if not lowest <= value <= highest:
        return [FieldProblem(where, f"got {value:,}, {lowest:,} to {highest:,} is allowed")]
    return []


def _highest(key: str) -> int:
    """The largest integer a field of this name may hold."""
    if any(word in key for word in LENGTH_WORDS):
        return MAX_LENGTH
    if "label" in key:
        return MAX_LABELS
    if any(word in key for word in COUNT_WORDS) and not key.endswith(("_dim", "_size")):
        return MAX_COUNT
    return MAX_SIZE
