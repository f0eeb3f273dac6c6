"""adapter_config.json, read as untrusted input: what an adapter's factors mean.

Reads LoRA only (with rsLoRA, DoRA, rank and alpha patterns, modules trained whole); every number is
bounded and modules are given by name, never by a pattern. What the file names (a base model, a
class, a path) is text to show; nothing opens or imports it. This module knows nothing of the
weights beside the file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lora_engine.errors import EngineError, FieldProblem, InvalidInput, NotFound, Unreadable
from lora_engine.library_imports import import_peft
from lora_engine.weights.safetensors_file import parse_json
from lora_engine.weights.stored_matrix import read_exactly

PROVENANCE_VERSION = 1  # of provenance.json; one without a version is of version 1
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1_000_000
MAX_NAMES = 20_000
MAX_RANK = 65_536
REMEDY = "Use an adapter that PEFT saved with plain LoRA, or one that Rankscope trained."

PlainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,300}$")]
Names = Annotated[list[PlainName], Field(max_length=MAX_NAMES)]
Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]
Alpha = Annotated[float, Field(gt=0.0, le=1e6)]
Number = TypeVar("Number", int, float)
LayerNumber = Annotated[int, Field(ge=0, le=100_000)]

# A key of a pattern; PEFT takes a leading ^ for the whole name.
PatternName = Annotated[str, StringConstraints(pattern=r"^\^?[A-Za-z0-9_.\-]{1,300}$")]
PATTERNS = ("rank_pattern", "alpha_pattern")

OTHER_FORMS = (
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "target_parameters",
    "use_bdlora",
    "use_qalora",
)
"""Fields of PEFT's LoraConfig under which the factors are not one B A for each module."""

NOT_APPLIED = (
    "alora_invocation_tokens",
    "megatron_config",
    "trainable_token_indices",
    "velora_config",
)
"""Fields that leave the factors as they are and change how a model uses them."""

BASE_CHANGING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that rewrite the base weight while PEFT injects the adapter."""


class AdapterConfig(BaseModel):
    """What an adapter's configuration says, bounded. Field names are PEFT's, as in the file."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    peft_type: Literal["LORA"]
    task_type: str | None = Field(None, max_length=100)
    r: Rank
    lora_alpha: Alpha
    target_modules: PlainName | Names | None = None
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    init_lora_weights: bool | Annotated[str, Field(max_length=100)] | None = True
    rank_pattern: Annotated[dict[PatternName, Rank], Field(max_length=MAX_NAMES)] | None = None
    alpha_pattern: Annotated[dict[PatternName, Alpha], Field(max_length=MAX_NAMES)] | None = None
    modules_to_save: Names | None = None
    exclude_modules: PlainName | Names | None = None
    layers_to_transform: (
        LayerNumber | Annotated[list[LayerNumber], Field(max_length=MAX_NAMES)] | None
    ) = None
    layers_pattern: PlainName | Names | None = None
    base_model_name_or_path: str | None = Field(None, max_length=4096)

    @property
    def initialization(self) -> str:
        """How the factors were initialized, in small letters."""
        return str(self.init_lora_weights).lower()

    def rank_of(self, module: str) -> int:
        """The rank PEFT gives a module: its own from rank_pattern, else `r`."""
        return _of_module(self.rank_pattern, module, self.r)

    def scaling_of(self, module: str) -> float:
        """alpha / rank, or alpha / √rank with rsLoRA; both the module's own."""
        alpha, rank = _of_module(self.alpha_pattern, module, self.lora_alpha), self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def switched_on(self, names: tuple[str, ...]) -> list[str]:
        """Those of the fields named that the file sets and this class does not declare."""
        return [name for name in names if (self.model_extra or {}).get(name)]

    def to_peft(self):
        """PEFT's LoraConfig for inference, made from the checked fields and nothing else."""
        import_peft()
        from peft import LoraConfig

        apart = {"peft_type", "task_type", "base_model_name_or_path", "init_lora_weights"}
        fields = self.model_dump(include=set(type(self).model_fields) - apart)
        fields |= {name: fields[name] or {} for name in PATTERNS}
        return LoraConfig(**fields, lora_dropout=0.0, task_type="CAUSAL_LM", inference_mode=True)


def _of_module(pattern: dict[str, Number] | None, module: str, otherwise: Number) -> Number:
    """PEFT's rule (`get_pattern_key`) for plain names: the first key that is the module's name
    or its dotted end; a leading ^ asks for the whole name."""
    for key, value in (pattern or {}).items():
        plain = key.removeprefix("^")
        if module == plain or (key == plain and module.endswith("." + plain)):
            return value
    return otherwise


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The checked configuration of the adapter in `folder`.

    Raises NotFound where there is none; InvalidInput listing every field that is wrong or out of
    bounds, another method than LoRA among them; EngineError for forms of LoRA whose factors mean
    something else.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise NotFound(
            f"{folder} is not an adapter folder: it has no {CONFIG_FILE}.",
            f"Give the folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}.",
        )
    document = _read_json_object(path)
    try:
        config = AdapterConfig.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(str(path), _problems(error), REMEDY) from None
    if forms := config.switched_on(OTHER_FORMS):
        raise EngineError(
            f"{path} uses {', '.join(forms)}: its factors are not one product B A for each module.",
            REMEDY,
        )
    return config


def read_applicable_config(folder: Path) -> AdapterConfig:
    """As `read_adapter_config`, for an adapter to be applied to a base model that others share.

    Raises EngineError too where that would change the base, or where the adapter needs more of
    PEFT than its factors.
    """
    path, config = folder / CONFIG_FILE, read_adapter_config(folder)
    if used := config.switched_on(NOT_APPLIED):
        raise EngineError(f"{path} uses {', '.join(used)}, which Rankscope cannot apply.", REMEDY)
    if config.initialization.startswith(BASE_CHANGING_INITS):
        raise EngineError(
            f"{path} was initialized with {config.initialization!r}, which changes the base "
            "weights, so it does not belong to the unchanged base.",
            "Save it with path_initial_model_for_weight_conversion, which makes it plain LoRA.",
        )
    problems = []
    if config.bias != "none":
        problems.append(FieldProblem("bias", f"only 'none' can be applied, got {config.bias!r}"))
    if config.target_modules is None:
        problems.append(FieldProblem("target_modules", "the modules must be named"))
    if problems:
        raise InvalidInput(str(path), problems, REMEDY)
    return config


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """provenance.json of a trained adapter, or None where there is none.

    Raises EngineError where the file is no JSON object, Unreadable for a later version.
    """
    path = folder / "provenance.json"
    if not path.is_file():
        return None
    document = _read_json_object(path)
    version = document.get("version", 1)
    if not isinstance(version, int) or version > PROVENANCE_VERSION:
        raise Unreadable(
            f"{path} has version {str(version)[:20]}; this Rankscope knows versions up to "
            f"{PROVENANCE_VERSION}.",
            "Use the Rankscope that trained the adapter, or a later one.",
        )
    return document


def _read_json_object(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise EngineError(
            f"{path} has {size:,} bytes; at most {MAX_CONFIG_BYTES:,} are allowed.", REMEDY
        )
    document = parse_json(path, read_exactly(path, 0, size))
    if not isinstance(document, dict):
        raise EngineError(f"{path} is no JSON object but {type(document).__name__}.", REMEDY)
    return document


def _problems(error: ValidationError) -> list[FieldProblem]:
    """One problem a field, and one a key of a pattern."""
    problems: dict[str, FieldProblem] = {}
    for item in error.errors():
        where = [str(part) for part in item["loc"]]
        path = ".".join(where[: 2 if where[0] in PATTERNS else 1])
        received = repr(item["input"])
        received = received if len(received) <= 80 else received[:77] + "..."
        problems.setdefault(path, FieldProblem(path, f"{item['msg']}, got {received}"))
    return list(problems.values())
