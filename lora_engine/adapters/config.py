"""adapter_config.json, read as untrusted input.

Only plain LoRA (with rsLoRA, DoRA, rank and alpha patterns, modules trained whole) is accepted;
every number is bounded and modules are given by name, never by a pattern. The base model that
the file names is kept as a word to show: which base is used is decided elsewhere. This module
knows nothing of the weights beside the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lora_engine.errors import EngineError, FieldProblem, InvalidInput, NotFound
from lora_engine.imports import import_peft
from lora_engine.training.method_spec import MAX_RANK

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1_000_000
MAX_NAMES = 20_000
REMEDY = "Use an adapter that PEFT saved with plain LoRA, or one that Rankscope trained."

PlainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,300}$")]
Names = Annotated[list[PlainName], Field(max_length=MAX_NAMES)]
Alpha = Annotated[float, Field(gt=0.0, le=100_000.0)]
LayerNumber = Annotated[int, Field(ge=0, le=100_000)]
Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]

# Starts that rewrite the base weight while PEFT injects the adapter: one base is shared here.
BASE_CHANGING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")

# Fields of PEFT's LoraConfig that change what the adapter computes and are not supported here.
UNSUPPORTED_FIELDS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)


class AdapterConfig(BaseModel):
    """What an adapter's configuration says, bounded. Field names are PEFT's, as in the file."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    peft_type: Literal["LORA"]
    task_type: str | None = Field(None, max_length=100)
    r: Rank
    lora_alpha: Alpha
    target_modules: PlainName | Names
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    bias: Literal["none"] = "none"
    rank_pattern: Annotated[dict[PlainName, Rank], Field(max_length=MAX_NAMES)] = {}
    alpha_pattern: Annotated[dict[PlainName, Alpha], Field(max_length=MAX_NAMES)] = {}
    modules_to_save: Names | None = None
    exclude_modules: Names | None = None
    layers_to_transform: (
        LayerNumber | Annotated[list[LayerNumber], Field(max_length=MAX_NAMES)] | None
    ) = None
    layers_pattern: PlainName | Names | None = None
    base_model_name_or_path: str | None = Field(None, max_length=4096)

    @property
    def rank(self) -> int:
        return self.r

    @property
    def scaling(self) -> float:
        """alpha / rank, or alpha / √rank with rsLoRA (before any pattern)."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def rank_of(self, module: str) -> int:
        """The rank PEFT gives a module: the first pattern that names it or its end, else `r`."""
        for name, rank in self.rank_pattern.items():
            if module == name or module.endswith("." + name):
                return rank
        return self.r

    def to_peft(self):
        """PEFT's LoraConfig for inference, made from the checked fields and nothing else."""
        import_peft()
        from peft import LoraConfig

        fields = self.model_dump(exclude={"peft_type", "task_type", "base_model_name_or_path"})
        return LoraConfig(**fields, lora_dropout=0.0, task_type="CAUSAL_LM", inference_mode=True)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The checked configuration of the adapter in `folder`.

    Raises NotFound where there is none; EngineError for another method than plain LoRA;
    InvalidInput listing every field that is wrong or out of bounds.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise NotFound(
            f"{folder} is not an adapter folder: it has no {CONFIG_FILE}.",
            f"Give the folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}.",
        )
    document = _read_json_object(path)
    _refuse_other_methods(document, path)
    try:
        return AdapterConfig.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(str(path), _problems(error), REMEDY) from None


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """provenance.json of a trained adapter, or None where there is none.

    Raises EngineError where the file is no JSON object.
    """
    path = folder / "provenance.json"
    return _read_json_object(path) if path.is_file() else None


def _read_json_object(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise EngineError(
            f"{path} has {size:,} bytes; at most {MAX_CONFIG_BYTES:,} are allowed.", REMEDY
        )
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{path} is not JSON: {error}.", REMEDY) from None
    if not isinstance(document, dict):
        raise EngineError(f"{path} is no JSON object but {type(document).__name__}.", REMEDY)
    return document


def _refuse_other_methods(document: dict[str, Any], path: Path) -> None:
    method = document.get("peft_type")
    if method != "LORA":
        raise EngineError(
            f"{path} is for the method {str(method)[:80]!r}; only LORA works.", REMEDY
        )
    used = [name for name in UNSUPPORTED_FIELDS if document.get(name)]
    if used:
        raise EngineError(f"{path} uses {', '.join(used)}, which Rankscope cannot apply.", REMEDY)
    start = str(document.get("init_lora_weights")).lower()
    if start.startswith(BASE_CHANGING_STARTS):
        raise EngineError(
            f"{path} was started with {start[:80]!r}, which changes the base weights, so it does "
            "not belong to the unchanged base.",
            "Save it with path_initial_model_for_weight_conversion, which makes it plain LoRA.",
        )


def _problems(error: ValidationError) -> list[FieldProblem]:
    problems = {}
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"][:1]) or "adapter_config"
        received = repr(item["input"])
        received = received if len(received) <= 80 else received[:77] + "..."
        problems.setdefault(path, FieldProblem(path, f"{item['msg']}, got {received}"))
    return list(problems.values())
