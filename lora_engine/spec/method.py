"""The method of a run: which weights train, with every knob of the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lora_engine.language import tr
from lora_engine.spec.section import ModuleName, Section

MAX_RANK = 4096

FinetuningType = Literal[
    "lora",
    "full",
    "freeze",
    "galore",
    "prefix",
    "prompt",
    "p_tuning",
    "ia3",
    "bottleneck",
    "vera",
    "loha",
]
LoraInit = Literal["default", "gaussian", "orthogonal", "pissa", "olora", "eva", "loftq"]
BiasTraining = Literal["none", "all", "lora_only"]
TargetModules = Literal["all-linear"] | list[ModuleName]
BottleneckActivation = Literal["gelu", "relu"]

WHOLE_MODEL_TYPES: tuple[FinetuningType, ...] = ("full", "freeze", "galore")
VIRTUAL_TOKEN_TYPES: tuple[FinetuningType, ...] = ("prefix", "prompt", "p_tuning")
USED_BY: dict[FinetuningType, tuple[str, ...]] = {
    "full": (),
    "freeze": ("freeze_layers",),
    "galore": ("rank", "galore_every", "galore_scale"),
    "prefix": ("virtual_tokens", "prefix_projection", "encoder_size"),
    "prompt": ("virtual_tokens", "prompt_text"),
    "p_tuning": ("virtual_tokens", "encoder_size"),
    "ia3": ("target_modules",),
    "bottleneck": ("bottleneck_size", "bottleneck_activation"),
    "vera": ("rank", "dropout", "target_modules", "vera_d_initial", "projection_seed"),
    "loha": ("rank", "alpha", "target_modules"),
}
"""The fields that a method other than LoRA reads, besides its own name. Such a method ignores the
sizes and shapes of others; options of LoRA are refused (`training.compatibility`)."""
VERA_RANK = 256  # PEFT's default: its random factors are shared, so rank costs one number a module


class MethodSpec(Section):
    """Which weights train, and how the adapter is shaped, scaled and started."""

    finetuning_type: FinetuningType = Field(
        "lora",
        title="Method",
        description="lora trains two thin matrices beside each chosen weight. full trains every "
        "weight, freeze those of the last layers, galore every weight by low-rank gradients "
        "(arXiv 2403.03507); these three leave a whole model. prefix (2101.00190) trains keys and "
        "values before every row, prompt (2104.08691) and p_tuning (2103.10385) embeddings. ia3 "
        "(2205.05638) scales keys, values and the MLP. bottleneck (1902.00751) adds small layers, "
        "vera (2310.11454) scales random factors, loha (2108.06098) multiplies two products.",
    )
    virtual_tokens: int = Field(
        20,
        title="Virtual tokens",
        description="How many trained tokens prefix, prompt and p_tuning put before every row. "
        "They count towards the model's context and the memory of a step.",
        ge=1,
        le=1024,
    )
    prompt_text: str | None = Field(
        None,
        title="Prompt to start from",
        description="A text whose embeddings are the first virtual tokens of prompt, repeated or "
        "cut to their number. Empty: random embeddings.",
        min_length=1,
        max_length=10_000,
    )
    encoder_size: int | None = Field(
        None,
        title="Prompt encoder",
        description="Inner width of the network that makes the virtual tokens of p_tuning, and of "
        "prefix with a projection. Empty: the model's width.",
        ge=1,
        le=65_536,
    )
    prefix_projection: bool = Field(
        False,
        title="Project the prefix",
        description="Let a small network make prefix's keys and values while it trains; what is "
        "saved is the same size.",
    )
    bottleneck_size: int = Field(
        64,
        title="Bottleneck",
        description="Inner width of each layer that bottleneck adds: model width → this → model "
        "width, added to its input.",
        ge=1,
        le=65_536,
    )
    bottleneck_activation: BottleneckActivation = Field(
        "gelu",
        title="Bottleneck: activation",
        description="What stands between the two halves of a bottleneck layer.",
    )
    vera_d_initial: float = Field(
        0.1,
        title="VeRA: start of d",
        description="What VeRA's scales of the inner dimension start at; those of the outputs "
        "start at zero.",
        gt=0.0,
        le=100.0,
    )
    projection_seed: int = Field(
        0,
        title="VeRA: seed of the factors",
        description="Fixes VeRA's shared random factors, which are saved with the adapter.",
        ge=0,
        le=2**32 - 1,
    )
    freeze_layers: int = Field(
        2,
        title="Layers that freeze trains",
        description="How many of the last layers train with the method freeze.",
        ge=1,
        le=10_000,
    )
    galore_every: int = Field(
        200,
        title="GaLore: steps a subspace",
        description="Steps until GaLore finds the gradient's main directions anew.",
        ge=1,
        le=1_000_000,
    )
    galore_scale: float = Field(
        0.25,
        title="GaLore: scale",
        description="Factor of the steps that GaLore makes in its subspace.",
        gt=0.0,
        le=100.0,
    )
    rank: int = Field(
        8,
        title="Rank",
        description="Inner size r of the update ΔW = scaling · B·A. More rank, more capacity. Left "
        "out with vera: 256.",
        ge=1,
        le=MAX_RANK,
    )
    alpha: float = Field(
        16.0,
        title="Alpha",
        description="Numerator of the scaling: alpha/rank, or alpha/√rank with rsLoRA. Null or "
        "left out: 2 · rank.",
        gt=0.0,
        le=100_000.0,
    )
    dropout: float = Field(
        0.0,
        title="LoRA dropout",
        description="Share of the adapter's inputs dropped at random while training.",
        ge=0.0,
        le=0.9,
    )
    target_modules: TargetModules = Field(
        "all-linear",
        title="Target modules",
        description="Weights that get an adapter: all-linear, or names such as q_proj, v_proj; "
        "embed_tokens adapts the embeddings. With ia3, all-linear means the keys, the values and "
        "the MLP's last weight.",
    )
    use_rslora: bool = Field(
        False,
        title="rsLoRA",
        description="Scale by alpha/√rank, which keeps high ranks learning (arXiv 2312.03732).",
    )
    use_dora: bool = Field(
        False,
        title="DoRA",
        description="Train the length of each weight row apart from its direction "
        "(arXiv 2402.09353).",
    )
    init: LoraInit = Field(
        "default",
        title="Start",
        description="How A and B start. default: A random, B zero, so ΔW starts at zero. pissa "
        "(arXiv 2404.02948) and olora (2406.01775): the weight's own main directions. eva "
        "(2410.07170): those of the rows. loftq (2310.08659): the error of a 4-bit base.",
    )
    init_from: str | None = Field(
        None,
        title="Go on from",
        description="An adapter to go on from: a run's id, a name that `adapters` lists, or a "
        "folder. Rank, alpha, targets and all else that shapes an adapter are then its own. What "
        "is left out here is taken from it; what contradicts it is refused. The optimizer starts "
        "anew.",
        min_length=1,
        max_length=1000,
    )
    loraplus_lr_ratio: float | None = Field(
        None,
        title="LoRA+ ratio",
        description="Learning rate of B divided by that of A (arXiv 2402.12354). Empty: the same.",
        gt=0.0,
        le=1000.0,
    )
    rank_pattern: dict[ModuleName, Annotated[int, Field(ge=1, le=MAX_RANK)]] = Field(
        default_factory=dict,
        title="Rank by module",
        description="Another rank for some modules, by name.",
    )
    alpha_pattern: dict[ModuleName, Annotated[float, Field(gt=0.0, le=100_000.0)]] = Field(
        default_factory=dict,
        title="Alpha by module",
        description="Another alpha for some modules. A module in the rank pattern that is not "
        "named here keeps the scaling of the rest.",
    )
    modules_to_save: list[ModuleName] = Field(
        default_factory=list,
        title="Modules trained whole",
        description="Modules trained in full and saved with the adapter, such as lm_head.",
    )
    lora_bias: bool = Field(
        False,
        title="Bias on B",
        description="Give each adapter a bias of its own, added with B's output.",
    )
    bias: BiasTraining = Field(
        "none",
        title="Base biases",
        description="Biases of the base that train too: none, all, or those of adapted modules.",
    )

    @property
    def has_adapter(self) -> bool:
        """Whether something beside the base trains, rather than weights of the base themselves."""
        return self.finetuning_type not in WHOLE_MODEL_TYPES

    @property
    def is_lora(self) -> bool:
        """Whether that is two factors a weight, whose product is the update."""
        return self.finetuning_type == "lora"

    @property
    def added_tokens(self) -> int:
        """How many virtual tokens stand before every row."""
        return self.virtual_tokens if self.finetuning_type in VIRTUAL_TOKEN_TYPES else 0

    @model_validator(mode="before")
    @classmethod
    def _rank_of_vera(cls, given: Any) -> Any:
        """A rank that is left out with VeRA is VERA_RANK."""
        if not isinstance(given, Mapping) or given.get("finetuning_type") != "vera":
            return given
        return {"rank": VERA_RANK, **given}

    @model_validator(mode="before")
    @classmethod
    def _alpha_of_rank(cls, given: Any) -> Any:
        """An alpha that is null or left out is 2 · rank, or that of the adapter to go on from."""
        if not isinstance(given, Mapping) or given.get("alpha") is not None:
            return given
        rest = {name: value for name, value in given.items() if name != "alpha"}
        rank = rest.get("rank")
        if not isinstance(rank, int) or isinstance(rank, bool) or rest.get("init_from"):
            return rest
        return {**rest, "alpha": 2.0 * rank} if 1 <= rank <= MAX_RANK else rest

    @field_validator("target_modules")
    @classmethod
    def _some_target(cls, value: str | list[str]) -> str | list[str]:
        if value == []:
            raise ValueError(tr("at least one module name is needed, or all-linear"))
        return value

    def consistent_alpha_pattern(self) -> dict[str, float]:
        """`alpha_pattern` completed so that every module that it does not name keeps one scaling.

        PEFT scales a module by its alpha over its own rank (over √rank with rsLoRA), so a rank
        pattern alone would change the scaling of the modules it names. It takes the first key that
        is the module's name or ends it: the person's keys stand first, and one that ends a key of
        the rank pattern decides for all its modules.
        """
        power = 0.5 if self.use_rslora else 1.0
        kept = {
            name: self.alpha * (rank / self.rank) ** power
            for name, rank in self.rank_pattern.items()
            if not any(f".{name}".endswith(f".{key}") for key in self.alpha_pattern)
        }
        return {**self.alpha_pattern, **kept}
