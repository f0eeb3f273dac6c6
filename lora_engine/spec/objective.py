"""The objective of a run: what a step makes likelier. One list of fields, each kind with its own.

Supervised answers, answers compared with each other (preferences), or answers that rules reward.
Knows nothing of rows, and not whether a method or a task can be trained by the objective.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lora_engine.language import tr
from lora_engine.spec.reward_rules import MAX_RULES, RewardRule
from lora_engine.spec.section import Section

ObjectiveKind = Literal["sft", "dpo", "ipo", "orpo", "kto", "simpo", "grpo"]
DpoLoss = Literal["sigmoid", "hinge"]
ClassWeights = Literal["equal", "balanced"]
Advantage = Literal["grpo", "dr_grpo"]

# Kind: the fields that it reads besides its kind. Any other field keeps its default.
OBJECTIVE_FIELDS: dict[str, tuple[str, ...]] = {
    "sft": ("class_weights",),
    "dpo": ("beta", "loss", "label_smoothing"),
    "ipo": ("beta",),
    "orpo": ("beta",),
    "kto": ("beta", "desirable_weight", "undesirable_weight"),
    "simpo": ("beta", "gamma"),
    "grpo": (
        "beta",
        "rules",
        "group_size",
        "max_new_tokens",
        "temperature",
        "top_p",
        "epsilon",
        "updates_per_generation",
        "advantage",
    ),
}
# TRL's defaults, but for simpo: TRL's 0.1 is that of another loss, and the paper's are 2 to 10.
DEFAULT_BETA = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "kto": 0.1, "simpo": 2.0, "grpo": 0.0}


class ObjectiveSpec(Section):
    """What a step makes likelier, and how strongly."""

    kind: ObjectiveKind = Field(
        "sft",
        title="Objective",
        description="sft learns every answer. dpo (arXiv 2305.18290), ipo (2310.12036), orpo "
        "(2403.07691) and simpo (2405.14734) learn from a chosen and a rejected answer, kto "
        "(2402.01306) from answers labelled good or bad, grpo (2402.03300) from rewards by rules.",
    )
    beta: float | None = Field(
        None,
        title="Beta",
        description="dpo, kto, ipo: how closely the model keeps to its reference. orpo: weight of "
        "the odds ratio. simpo: scale of the reward. grpo: weight of the KL. Empty: 0.1, simpo 2, "
        "grpo 0.",
        ge=0.0,
        le=100.0,
    )
    loss: DpoLoss = Field(
        "sigmoid",
        title="DPO: loss",
        description="sigmoid as in the paper, or hinge: no gradient once the margin is 1 (SLiC, "
        "arXiv 2305.10425).",
    )
    label_smoothing: float = Field(
        0.0,
        title="DPO: label smoothing",
        description="Share of the pairs taken to be labelled the wrong way round, with the "
        "sigmoid loss.",
        ge=0.0,
        lt=0.5,
    )
    desirable_weight: float = Field(
        1.0,
        title="KTO: weight of good answers",
        description="Raise it where good answers are the fewer: weight times number within 1 to "
        "4/3 of the other side's.",
        ge=0.0,
        le=1000.0,
    )
    undesirable_weight: float = Field(
        1.0,
        title="KTO: weight of bad answers",
        description="Raise it where bad answers are the fewer.",
        ge=0.0,
        le=1000.0,
    )
    gamma: float = Field(
        1.0,
        title="SimPO: margin",
        description="The reward that the chosen answer is to have above the rejected one; about "
        "half of beta.",
        ge=0.0,
        le=100.0,
    )

    rules: list[RewardRule] = Field(
        default_factory=list,
        title="GRPO: rules",
        description="What an answer is rewarded for; the reward is the weighted sum.",
        max_length=MAX_RULES,
    )
    group_size: int = Field(
        8,
        title="GRPO: answers a prompt",
        description="Sampled answers to one prompt, which are judged against each other.",
        ge=2,
        le=64,
    )
    max_new_tokens: int = Field(
        128,
        title="GRPO: longest answer",
        description="Tokens after which a sampled answer is cut off.",
        ge=1,
        le=8192,
    )
    temperature: float = Field(
        1.0,
        title="GRPO: temperature",
        description="Of the sampled answers; higher values try more.",
        ge=0.05,
        le=5.0,
    )
    top_p: float = Field(
        1.0,
        title="GRPO: top-p",
        description="Sample from the likeliest tokens that together reach this probability.",
        gt=0.0,
        le=1.0,
    )
    epsilon: float = Field(
        0.2,
        title="GRPO: clip",
        description="How far a token's probability may move from what it was when the answers "
        "were sampled: by this share either way.",
        gt=0.0,
        lt=1.0,
    )
    updates_per_generation: int = Field(
        1,
        title="GRPO: updates a generation",
        description="Updates of the weights that learn from the same sampled answers (the "
        "paper's mu). All of them are one step.",
        ge=1,
        le=16,
    )
    advantage: Advantage = Field(
        "grpo",
        title="GRPO: advantage",
        description="grpo divides by the group's standard deviation, and each answer weighs the "
        "same. dr_grpo (arXiv 2503.20783) does not divide, and each token weighs the same.",
    )

    class_weights: ClassWeights = Field(
        "equal",
        title="Classifiers: weights of the classes",
        description="balanced weighs each label by n / (k n_c), so that rare classes count as much "
        "as common ones; the evaluation loss stays unweighted.",
    )

    @property
    def compares_answers(self) -> bool:
        """Whether rows hold a chosen and a rejected answer."""
        return self.kind in ("dpo", "ipo", "orpo", "simpo")

    @property
    def learns_preferences(self) -> bool:
        """Whether rows compare or judge answers."""
        return self.compares_answers or self.kind == "kto"

    @property
    def has_reference(self) -> bool:
        """Whether the loss is against the base model without the adapter."""
        return self.kind in ("dpo", "ipo", "kto") or (self.kind == "grpo" and self.strength > 0)

    @property
    def strength(self) -> float:
        """beta as a number; 0 for sft."""
        return self.beta or 0.0

    @model_validator(mode="before")
    @classmethod
    def _beta_of_kind(cls, given: Any) -> Any:
        """A beta that is null or left out is the kind's own."""
        if not isinstance(given, Mapping) or given.get("beta") is not None:
            return given
        rest = {name: value for name, value in given.items() if name != "beta"}
        kind = rest.get("kind")
        beta = DEFAULT_BETA.get(kind) if isinstance(kind, str) else None
        return rest if beta is None else {**rest, "beta": beta}

    @field_validator("*")
    @classmethod
    def _belongs_to_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses a field that the kind does not read, unless it has its default."""
        kind, name = info.data.get("kind"), str(info.field_name)
        if kind is None or name in OBJECTIVE_FIELDS[kind]:
            return value
        if value != cls.model_fields[name].get_default(call_default_factory=True):
            kinds = [other for other, fields in OBJECTIVE_FIELDS.items() if name in fields]
            raise ValueError(
                tr(
                    "belongs to {kinds}, and the objective is {kind}",
                    kinds=" and ".join(kinds),
                    kind=kind,
                )
            )
        return value

    @field_validator("beta")
    @classmethod
    def _some_beta(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value == 0 and info.data.get("kind") != "grpo":
            raise ValueError(tr("above 0 is needed: with 0 no answer is better than another"))
        return value

    @field_validator("label_smoothing")
    @classmethod
    def _smooth_sigmoid(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("loss") == "hinge":
            raise ValueError(tr("belongs to the loss sigmoid, and the loss is hinge"))
        return value
