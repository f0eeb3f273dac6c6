"""Which rows of a dataset are left out before anything else happens to them."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from lora_engine.language import tr
from lora_engine.spec.patterns import sound_pattern
from lora_engine.spec.section import Section

MAX_PATTERN_CHARACTERS = 1_000


class FiltersSpec(Section):
    """Filters, applied in the order of their fields. All empty: every row stays."""

    min_characters: int | None = Field(
        None,
        title="Fewest characters",
        description="Rows with fewer characters in all their texts together are left out.",
        ge=1,
        le=500_000,
    )
    max_characters: int | None = Field(
        None,
        title="Most characters",
        description="Rows with more characters in all their texts together are left out.",
        ge=1,
        le=500_000,
    )
    keep_matching: str | None = Field(
        None,
        title="Keep only what matches",
        description="A regular expression; rows in whose texts it is not found are left out.",
        min_length=1,
        max_length=MAX_PATTERN_CHARACTERS,
    )
    drop_matching: str | None = Field(
        None,
        title="Leave out what matches",
        description="A regular expression; rows in whose texts it is found are left out.",
        min_length=1,
        max_length=MAX_PATTERN_CHARACTERS,
    )
    drop_duplicates: bool = Field(
        False,
        title="Leave out duplicates",
        description="Of rows that are exactly the same, only the first one stays, in whichever "
        "set of a mixture it stands.",
    )

    @field_validator("keep_matching", "drop_matching")
    @classmethod
    def _is_sound(cls, pattern: str | None) -> str | None:
        return None if pattern is None else sound_pattern(pattern)

    @model_validator(mode="after")
    def _leave_room(self) -> FiltersSpec:
        fewest, most = self.min_characters, self.max_characters
        if fewest is not None and most is not None and fewest > most:
            raise ValueError(
                tr(
                    "no row has at least {fewest} and at most {most} characters",
                    fewest=f"{fewest:,}",
                    most=f"{most:,}",
                )
            )
        return self
