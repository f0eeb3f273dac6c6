"""The rules that judge an answer in a GRPO run: what each one asks for, and what it weighs.

A rule gives 1 or 0. How an answer is judged is `training/objectives/rewards.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from lora_engine.language import tr
from lora_engine.spec.patterns import sound_pattern
from lora_engine.spec.section import Section

MAX_RULES = 6
RuleKind = Literal["equal", "regex", "json_valid", "length"]
Comparison = Literal["text", "last_number", "contains"]
LengthUnit = Literal["tokens", "characters"]
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=200)]

FIELDS_OF_KIND: dict[str, tuple[str, ...]] = {
    "equal": ("compare",),
    "regex": ("pattern",),
    "json_valid": ("keys",),
    "length": ("minimum", "maximum", "unit"),
}
"""The fields that belong to one kind of rule, besides its kind and weight."""


class RewardRule(Section):
    """One rule. Its score is 1 where the answer meets it, else 0."""

    kind: RuleKind = Field(
        "equal",
        title="Rule",
        description="equal: the row's own answer is met. regex: a pattern is found. json_valid: "
        "the whole answer is JSON. length: the answer is neither too short nor too long.",
    )
    weight: float = Field(
        1.0,
        title="Weight",
        description="What an answer that meets the rule gains. Below 0, it loses.",
        ge=-100.0,
        le=100.0,
    )
    compare: Comparison = Field(
        "text",
        title="Compare",
        description="For equal. text: the whole answer, without case, spaces and marks around "
        "it. last_number: the last number in the answer. contains: the row's answer stands in it "
        "as whole words.",
    )
    pattern: str = Field(
        "",
        title="Pattern",
        description="For regex: a regular expression that must be found in the answer; ^ and $ "
        "bind it to the ends.",
        max_length=1000,
    )
    keys: list[KeyName] = Field(
        default_factory=list,
        title="Keys",
        description="For json_valid: keys that the object must have. Empty: any JSON.",
        max_length=50,
    )
    minimum: int | None = Field(
        None, title="At least", description="For length: the shortest answer.", ge=0, le=100_000
    )
    maximum: int | None = Field(
        None, title="At most", description="For length: the longest answer.", ge=0, le=100_000
    )
    unit: LengthUnit = Field(
        "tokens", title="Counted in", description="For length: tokens or characters."
    )

    @field_validator("*")
    @classmethod
    def _belongs_to_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses a field that the kind does not read, unless it has its default."""
        kind, name = info.data.get("kind"), str(info.field_name)
        owner = next((other for other, names in FIELDS_OF_KIND.items() if name in names), kind)
        if owner == kind or kind is None:
            return value
        if value != cls.model_fields[name].get_default(call_default_factory=True):
            raise ValueError(
                tr("belongs to {owner}, and the rule is {kind}", owner=owner, kind=kind)
            )
        return value

    @field_validator("pattern")
    @classmethod
    def _is_sound(cls, pattern: str) -> str:
        return sound_pattern(pattern)

    @field_validator("weight")
    @classmethod
    def _counts(cls, weight: float) -> float:
        if weight == 0:
            raise ValueError(tr("a rule that weighs nothing says nothing; leave it out"))
        return weight

    @model_validator(mode="after")
    def _is_whole(self) -> RewardRule:
        if self.kind == "regex" and not self.pattern:
            raise ValueError(tr("the rule regex needs a pattern"))
        if self.kind == "length" and self.minimum is None and self.maximum is None:
            raise ValueError(tr("the rule length needs a minimum or a maximum"))
        if self.maximum is not None and (self.minimum or 0) > self.maximum:
            raise ValueError(tr("the minimum is above the maximum"))
        return self
