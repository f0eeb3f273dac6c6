"""`adapter_config.json` of a PEFT LoRA adapter, parsed strictly: bounded, LoRA only, no regex.

What a config names (a base model, a class, a path) is kept as text and never opened, imported
or matched as a pattern. A setting that changes what the factors mean and that we do not know
is refused; a setting that does not is left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lora_engine.errors import EngineError, FieldProblem, InvalidInput, NotFound
from lora_engine.weights.safetensors_file import parse_json
from lora_engine.weights.stored import read_exactly

CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 2**20

ModuleName = Annotated[
    str, StringConstraints(pattern=r"^\^?[A-Za-z0-9_][A-Za-z0-9_.\-]*$", max_length=300)
]
Rank = Annotated[int, Field(ge=1, le=65_536)]
Alpha = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]

OTHER_FORMS = (
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "layer_replication",
)
"""Settings under which the factors are not a plain B A of one module's weight."""

BASE_CHANGING_INITS = ("pissa", "olora", "corda", "lora_ga", "loftq", "orthogonal")
"""Initialisations after which B A is not zero at the start, so part of it is not training."""


class AdapterConfig(BaseModel):
    """The settings that decide what an adapter's factors mean."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    peft_type: Literal["LORA"]
    r: Rank
    lora_alpha: Alpha
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    init_lora_weights: bool | str | None = True
    rank_pattern: dict[ModuleName, Rank] | None = Field(None, max_length=20_000)
    alpha_pattern: dict[ModuleName, Alpha] | None = Field(None, max_length=20_000)
    target_modules: list[ModuleName] | ModuleName | None = None
    modules_to_save: list[ModuleName] | None = None
    base_model_name_or_path: str | None = None

    def module_rank(self, name: str) -> int:
        """The rank of a module, its own from rank_pattern or the common one."""
        return _lookup(self.rank_pattern, name, self.r)

    def module_scaling(self, name: str, rank: int) -> float:
        """alpha / rank, or alpha / sqrt(rank) with rsLoRA; alpha from alpha_pattern if there."""
        alpha = _lookup(self.alpha_pattern, name, self.lora_alpha)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def notes(self) -> tuple[str, ...]:
        """What a person must know to read this adapter's numbers rightly."""
        found = []
        init = str(self.init_lora_weights).lower()
        if init.startswith(BASE_CHANGING_INITS):
            found.append(
                f"Initialised by {init}: the factors hold a part of the base weight from the "
                "start, so they are not the training's update alone."
            )
        if self.model_extra and self.model_extra.get("alora_invocation_tokens"):
            found.append("An activated LoRA: the update acts only after its invocation tokens.")
        return tuple(found)


def read_config(folder: Path) -> AdapterConfig:
    """Parse the config of an adapter folder.

    Raises NotFound when there is none, InvalidInput naming every field that is wrong, and
    EngineError for forms of LoRA whose factors mean something else.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise NotFound(
            f"{folder} is not an adapter: it holds no {CONFIG_FILE}.",
            "Give the folder that PEFT's save_pretrained wrote.",
        )
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise EngineError(
            f"{CONFIG_FILE} has {size:,} bytes; allowed are {MAX_CONFIG_BYTES:,}.",
            "Get the adapter from its source again.",
        )
    content = parse_json(path, read_exactly(path, 0, size))
    try:
        config = AdapterConfig.model_validate(content)
    except ValidationError as error:
        problems = [
            FieldProblem(".".join(map(str, item["loc"])) or "it", _message(item))
            for item in error.errors()[:20]
        ]
        raise InvalidInput(
            CONFIG_FILE, problems, "Rankscope reads LoRA adapters as PEFT writes them."
        ) from None
    extra = config.model_extra or {}
    unknown = [name for name in OTHER_FORMS if extra.get(name)]
    if unknown:
        raise EngineError(
            f"{CONFIG_FILE} sets {', '.join(unknown)}; adapters of this form are not read, "
            "because their factors are not one product B A for each module.",
            "Use a plain, rsLoRA or DoRA adapter.",
        )
    return config


def _message(item: dict) -> str:
    return f"{item['msg']}, got {str(item['input'])[:60]!r}"


def _lookup(pattern: dict[str, float] | None, name: str, default: float) -> float:
    """PEFT's rule (`get_pattern_key`) for plain names: the first key that is the module's name
    or its dotted end; a leading ^ asks for the whole name."""
    for key, value in (pattern or {}).items():
        whole = key.startswith("^")
        plain = key.removeprefix("^")
        if name == plain or (not whole and name.endswith("." + plain)):
            return value
    return default
