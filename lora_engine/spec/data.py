"""The data of a run: where its rows come from, and what their columns mean."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from lora_engine.spec.section import Section

Task = Literal["causal_lm", "sequence_classification", "token_classification"]
DatasetFormat = Literal[
    "auto",
    "messages",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "text",
    "classification",
    "token_classification",
]

Reasoning = Literal["learn", "keep", "strip"]

# Format: the columns it needs and those it may have besides.
COLUMN_SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "messages": (("messages",), ()),
    "prompt_completion": (("prompt", "answer"), ("system",)),
    "classification": (("text", "label"), ()),
    "token_classification": (("tokens", "tags"), ()),
    "text": (("text",), ()),
}


def _column(title: str, description: str) -> Any:
    return Field(None, title=title, description=description, min_length=1, max_length=200)


class ColumnsSpec(Section):
    """Which column holds what. All empty: the names of the file are those of a known format."""

    prompt: str | None = _column("Prompt column", "The column with what is asked.")
    answer: str | None = _column("Answer column", "The column with what is to be learned.")
    system: str | None = _column("System column", "The column with the system text, if any.")
    messages: str | None = _column(
        "Messages column", "The column with a list of turns, in place of prompt and answer."
    )
    text: str | None = _column("Text column", "The column with plain text, or a text to classify.")
    label: str | None = _column("Label column", "The column with the class of the text.")
    tokens: str | None = _column("Tokens column", "The column with a list of words.")
    tags: str | None = _column("Tags column", "The column with a list of one class for each word.")

    @property
    def named(self) -> dict[str, str]:
        """Role to column, those that are named."""
        return {role: column for role, column in self.model_dump().items() if column is not None}

    @property
    def format(self) -> str | None:
        """The format that the named columns make; None where none is named."""
        given = set(self.named)
        for name, (needed, optional) in COLUMN_SETS.items():
            if given and set(needed) <= given <= {*needed, *optional}:
                return name
        return None

    @model_validator(mode="after")
    def _fit_together(self) -> ColumnsSpec:
        if self.named and self.format is None:
            raise ValueError(
                "name messages alone, or prompt and answer (and system), or text, or text and "
                "label, or tokens and tags"
            )
        return self


class DatasetSpec(Section):
    """Where the rows come from, how they are read, and how many are kept apart."""

    source: str = Field(
        "starter:pirate",
        title="Dataset",
        description="A bundled set (starter:pirate), a file (JSONL, JSON, CSV, Parquet) or a "
        "hub id.",
        min_length=1,
        max_length=1000,
    )
    format: DatasetFormat = Field(
        "auto",
        title="Format",
        description="How a row is read. auto finds out from the columns of the first row.",
    )
    columns: ColumnsSpec = Field(
        default_factory=ColumnsSpec,
        title="Columns",
        description="Which column holds what, where the file's names are those of no format.",
    )
    reasoning: Reasoning = Field(
        "learn",
        title="Thoughts",
        description="What happens to the thoughts before an answer (reasoning_content, or a "
        "<think> block): learn them, keep them in the text without learning them, or strip them.",
    )
    eval_fraction: float = Field(
        0.1,
        title="Evaluation share",
        description="Share of the rows kept apart to measure evaluation loss. 0 keeps none.",
        ge=0.0,
        le=0.5,
    )

    @model_validator(mode="after")
    def _one_way_to_read(self) -> DatasetSpec:
        if self.columns.format is not None and self.format not in ("auto", self.columns.format):
            raise ValueError(
                f"the columns named make the format {self.columns.format}, and the format is "
                f"{self.format}; set the format to auto"
            )
        return self
