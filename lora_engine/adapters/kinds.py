"""Which method an adapter is of, and the configuration of those that are not LoRA.

PEFT's prefix tuning, prompt tuning, P-tuning, IA³, VeRA and LoHa, and the bottleneck layers that
Rankscope writes itself. Read as untrusted input, as `config` reads LoRA's: every number is bounded,
and what the file names is text to show. Knows nothing of the weights; `other_weights` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lora_engine.adapters.config import (
    CONFIG_FILE,
    MERGE,
    REMEDY,
    AdapterConfig,
    Alpha,
    Names,
    Pattern,
    Rank,
    config_problems,
    read_applicable_config,
    read_config_document,
)
from lora_engine.adapters.other_forms import BOTTLENECK
from lora_engine.errors import EngineError, InvalidInput
from lora_engine.language import tr, translatable

if TYPE_CHECKING:
    from peft import PeftConfig

AdapterKind = Literal["lora", "prefix", "prompt", "p_tuning", "ia3", "vera", "loha", "bottleneck"]
"""What an adapter is, in the words of `method.finetuning_type`."""

KIND_NAMES: dict[AdapterKind, str] = {
    "lora": "LoRA",
    "prefix": translatable("prefix tuning"),
    "prompt": translatable("prompt tuning"),
    "p_tuning": "P-tuning",
    "ia3": "IA³",
    "vera": "VeRA",
    "loha": "LoHa",
    "bottleneck": translatable("bottleneck layers"),
}
KIND_OF: dict[str, AdapterKind] = {
    "PREFIX_TUNING": "prefix",
    "PROMPT_TUNING": "prompt",
    "P_TUNING": "p_tuning",
    "IA3": "ia3",
    "VERA": "vera",
    "LOHA": "loha",
    BOTTLENECK: "bottleneck",
}
OF_LORA_ALONE = ("modules_to_save", "rank_pattern", "alpha_pattern")
VIRTUAL_TOKEN_KINDS: tuple[AdapterKind, ...] = ("prefix", "prompt", "p_tuning")
NEEDED: dict[AdapterKind, tuple[str, ...]] = {
    **dict.fromkeys(VIRTUAL_TOKEN_KINDS, ("num_virtual_tokens", "token_dim")),
    "prefix": ("num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads"),
    "ia3": (),
    "vera": ("r",),
    "loha": ("r", "alpha"),
    "bottleneck": ("bottleneck_size", "activation"),
}
"""The fields without which an adapter of a kind cannot be read."""

Size = Annotated[int, Field(ge=1, le=1_000_000)]


class OtherConfig(BaseModel):
    """The configuration of an adapter that is not LoRA, bounded. Field names are those of the file.

    token_dim: the width of a virtual token; of prefix tuning, that of the keys of all heads.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    peft_type: Literal[
        "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "IA3", "VERA", "LOHA", "RANKSCOPE_BOTTLENECK"
    ]
    task_type: str | None = Field(None, max_length=100)
    base_model_name_or_path: str | None = Field(None, max_length=4096)
    num_virtual_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    token_dim: Size | None = None
    num_layers: Size | None = None
    num_attention_heads: Size | None = None
    num_transformer_submodules: Literal[1] | None = None
    target_modules: Pattern | Names | None = None
    bias: Literal["none"] = "none"
    r: Rank | None = None
    alpha: Alpha | None = None
    save_projection: bool = True
    projection_prng_key: Annotated[int, Field(ge=0, le=2**64 - 1)] = 0
    bottleneck_size: Size | None = None
    activation: Literal["gelu", "relu"] | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> OtherConfig:
        missing = [name for name in NEEDED[self.kind] if getattr(self, name) is None]
        if missing:
            raise ValueError(
                tr(
                    "{method} needs {fields}",
                    method=tr(KIND_NAMES[self.kind]),
                    fields=", ".join(missing),
                )
            )
        return self

    @property
    def kind(self) -> AdapterKind:
        return KIND_OF[self.peft_type]

    @property
    def virtual_tokens(self) -> int:
        """How many trained tokens stand before every row; 0 for the kinds without."""
        return self.num_virtual_tokens or 0 if self.kind in VIRTUAL_TOKEN_KINDS else 0

    @property
    def scaling(self) -> float:
        """What the update is multiplied by: alpha / rank for LoHa, 1 for all others."""
        return self.alpha / self.r if self.alpha and self.r else 1.0

    def to_peft(self, modules: Sequence[str], feedforward: Sequence[str] = ()) -> PeftConfig:
        """PEFT's configuration for inference, from the checked fields and nothing else.

        modules: those the weights hold tensors of. feedforward: those of them whose inputs IA³
        scales, where it scales the outputs of the rest. Not for bottleneck layers: PEFT has none.
        """
        import peft

        common: dict[str, Any] = {"task_type": "CAUSAL_LM", "inference_mode": True}
        if self.kind in VIRTUAL_TOKEN_KINDS:
            names = ("num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads")
            common |= {name: getattr(self, name) for name in names}
            common["num_transformer_submodules"] = 1
            classes = {
                "prefix": peft.PrefixTuningConfig,
                "prompt": peft.PromptTuningConfig,
                "p_tuning": peft.PromptEncoderConfig,
            }
            return classes[self.kind](**common)
        common["target_modules"] = list(modules)
        if self.kind == "ia3":
            return peft.IA3Config(feedforward_modules=list(feedforward), **common)
        if self.kind == "vera":
            return peft.VeraConfig(
                r=self.r or 1,
                projection_prng_key=self.projection_prng_key,
                save_projection=self.save_projection,
                **common,
            )
        assert self.kind == "loha", "PEFT has no bottleneck layers"
        common["alpha"] = self.alpha  # PEFT says int, and takes a float
        return peft.LoHaConfig(r=self.r or 1, **common)


def read_other_config(folder: Path) -> OtherConfig:
    """The checked configuration of an adapter that is not LoRA.

    Raises NotFound where there is none; InvalidInput listing every field that is wrong or out of
    bounds; EngineError for options that are read of LoRA alone.
    """
    path, document = folder / CONFIG_FILE, read_config_document(folder)
    used = [name for name in OF_LORA_ALONE if document.get(name)]
    if used:
        prompts = KIND_OF.get(str(document.get("peft_type"))) in VIRTUAL_TOKEN_KINDS
        raise EngineError(
            tr(
                "{path} uses {used}, which Rankscope reads of LoRA adapters alone.",
                path=path,
                used=", ".join(used),
            ),
            tr("Use it with PEFT; Rankscope does not read it.") if prompts else tr(MERGE),
        )
    try:
        return OtherConfig.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(str(path), config_problems(error), tr(REMEDY)) from None


def read_any_config(folder: Path) -> AdapterConfig | OtherConfig:
    """The checked configuration of an adapter of any method that can be used here.

    Raises as `read_applicable_config` and `read_other_config`.
    """
    named = read_config_document(folder).get("peft_type")
    if isinstance(named, str) and named in KIND_OF:
        return read_other_config(folder)
    return read_applicable_config(folder)


def kind_of(config: AdapterConfig | OtherConfig) -> AdapterKind:
    return config.kind if isinstance(config, OtherConfig) else "lora"


def size_in_words(config: AdapterConfig | OtherConfig) -> str:
    """What a person compares adapters by: the rank, the virtual tokens, the inner width."""
    if isinstance(config, AdapterConfig):
        return tr("rank {rank}", rank=f"{config.r:,}")
    name = tr(KIND_NAMES[config.kind])
    if config.virtual_tokens:
        return tr(
            "{method}, {count} virtual tokens", method=name, count=f"{config.virtual_tokens:,}"
        )
    if config.kind == "bottleneck":
        return tr("bottleneck {width}", width=f"{config.bottleneck_size:,}")
    return tr("{method}, rank {rank}", method=name, rank=f"{config.r:,}") if config.r else name
