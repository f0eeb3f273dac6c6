"""The method of a run: which weights train, with every knob of the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lora_engine.spec.section import ModuleName, Section

MAX_RANK = 4096

FinetuningType = Literal["lora", "full", "freeze", "galore"]
LoraInit = Literal["default", "gaussian", "orthogonal", "pissa", "olora", "eva", "loftq"]
BiasTraining = Literal["none", "all", "lora_only"]
TargetModules = Literal["all-linear"] | list[ModuleName]


class MethodSpec(Section):
    """Which weights train, and how the adapter is shaped, scaled and started."""

    finetuning_type: FinetuningType = Field(
        "lora",
        title="Method",
        description="lora trains two thin matrices beside each chosen weight. full trains every "
        "weight, freeze those of the last layers, galore every weight with AdamW on low-rank "
        "gradients (arXiv 2403.03507); these three leave a whole model.",
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
        description="Inner size r of the update ΔW = scaling · B·A. More rank, more capacity.",
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
        "embed_tokens adapts the embeddings.",
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
        """Whether an adapter trains, rather than weights of the base themselves."""
        return self.finetuning_type == "lora"

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
            raise ValueError("at least one module name is needed, or all-linear")
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
