"""The data of a run: where its rows come from, and what their columns mean."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lora_engine.language import tr
from lora_engine.spec.filters import FiltersSpec
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
    "preference",
    "kto",
]

MAX_SETS = 100
# What `datasets` takes as a configuration's name, without the start of a hidden file or "..".
_CONFIG = re.compile(r"[^<>:/\\|?*.\x00-\x1f][^<>:/\\|?*\x00-\x1f]*")
_EDGE = r"(-?[0-9]{1,12}%?)?"
_SPLIT = re.compile(rf"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(\[{_EDGE}:{_EDGE}\])?")
_HUB_NAME = 200  # characters of a configuration's or split's name

Reasoning = Literal["learn", "keep", "strip"]
LearnedTurns = Literal["all", "last"]
TemplateChoice = Literal[
    "auto",
    "none",
    "rankscope-default",
    "alpaca",
    "chatml",
    "gemma",
    "llama-2",
    "llama-3",
    "mistral",
    "phi-3",
    "vicuna",
    "zephyr",
]

# Format: the columns it needs and those it may have besides.
COLUMN_SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "messages": (("messages",), ()),
    "prompt_completion": (("prompt", "answer"), ("system",)),
    "classification": (("text", "label"), ()),
    "token_classification": (("tokens", "tags"), ()),
    "text": (("text",), ()),
    "preference": (("chosen", "rejected"), ("prompt", "system")),
    "kto": (("prompt", "answer", "label"), ("system",)),
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
    label: str | None = _column(
        "Label column",
        "The column with the class of the text, or with the verdict on the answer.",
    )
    tokens: str | None = _column("Tokens column", "The column with a list of words.")
    tags: str | None = _column("Tags column", "The column with a list of one class for each word.")
    chosen: str | None = _column("Chosen column", "The column with the preferred answer.")
    rejected: str | None = _column("Rejected column", "The column with the other answer.")

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
                tr(
                    "name messages alone, or prompt and answer (and system), or text, or "
                    "text and label, or tokens and tags, or chosen and rejected (and prompt, "
                    "system), or prompt, answer and label"
                )
            )
        return self


def _source(default: Any) -> Any:
    return Field(
        default,
        title="Dataset",
        description="A bundled set (starter:pirate), a file (JSONL, JSON, CSV, Parquet) or a "
        "hub id.",
        min_length=1,
        max_length=1000,
    )


def _config() -> Any:
    return Field(
        None,
        title="Configuration",
        description="Which configuration of a hub set is read; empty where it has one.",
        max_length=_HUB_NAME,
    )


def _config_name(name: str | None) -> str | None:
    if name is not None and not _CONFIG.fullmatch(name):
        raise ValueError(tr("a configuration's name is needed, without any of < > : / \\ | ? *"))
    return name


def _split_name(name: str | None) -> str | None:
    if name is not None and not _SPLIT.fullmatch(name):
        raise ValueError(
            tr(
                "one split's name is needed, such as train, or a part of it: train[:10%], "
                "train[1000:2000]"
            )
        )
    return name


class MixturePart(Section):
    """One of the sets that are mixed. What is left out is as the dataset's own fields say."""

    source: str = _source(...)
    weight: float = Field(
        1.0,
        title="Weight",
        description="Its share of an epoch's rows is its weight divided by the sum of weights.",
        gt=0.0,
        le=1_000_000.0,
    )
    config: str | None = _config()
    split: str | None = Field(
        None, title="Split", description="Which split of a hub set is read.", max_length=_HUB_NAME
    )
    format: DatasetFormat | None = Field(
        None, title="Format", description="How a row of this set is read."
    )
    columns: ColumnsSpec | None = Field(
        None, title="Columns", description="Which column of this set holds what."
    )

    @field_validator("config")
    @classmethod
    def _config_is_a_name(cls, name: str | None) -> str | None:
        return _config_name(name)

    @field_validator("split")
    @classmethod
    def _split_is_a_name(cls, name: str | None) -> str | None:
        return _split_name(name)


class DatasetSpec(Section):
    """Where the rows come from, how they are read, and how many are kept apart."""

    source: str = _source("starter:pirate")
    config: str | None = _config()
    split: str = Field(
        "train",
        title="Split",
        description="Which split of a hub set is read; a part of it as train[:10%] or "
        "train[1000:2000].",
        max_length=_HUB_NAME,
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
    mixture: list[MixturePart] = Field(
        default_factory=list,
        title="Mixture",
        description="Several sets in place of one, each with its weight: all of them stand here. "
        "An epoch has as many rows as all sets together; a set with fewer rows than its share is "
        "repeated, one with more gives some of them.",
        max_length=MAX_SETS,
        json_schema_extra={"one_a_line": True},
    )
    filters: FiltersSpec = Field(
        default_factory=FiltersSpec,
        title="Filters",
        description="Which rows are left out before the evaluation rows are drawn.",
    )
    turns: LearnedTurns = Field(
        "all",
        title="Learned turns",
        description="Which answers of a conversation are learned: all of them, or only the last "
        "one. The others stay in the text.",
    )
    template: TemplateChoice = Field(
        "auto",
        title="Chat template",
        description="How a conversation becomes text. auto takes the base model's own, and "
        "rankscope-default where it has none. none writes prompt and answer one behind the other, "
        "without roles. chatml is Qwen's form too.",
    )
    eval_fraction: float = Field(
        0.1,
        title="Evaluation share",
        description="Share of the rows kept apart to measure evaluation loss. 0 keeps none. "
        "Without effect where there is an evaluation set.",
        ge=0.0,
        le=0.5,
    )
    eval_source: str | None = Field(
        None,
        title="Evaluation set",
        description="A set of its own to measure evaluation loss on, whole and unfiltered, named "
        "as a dataset is. Nothing is then kept apart from the training rows; rows that stand in "
        "both are not trained on.",
        min_length=1,
        max_length=1000,
    )
    eval_config: str | None = Field(
        None,
        title="Evaluation configuration",
        description="The configuration of an evaluation set on the hub, where it has several.",
        max_length=_HUB_NAME,
    )
    eval_split: str | None = Field(
        None,
        title="Evaluation split",
        description="The split of the evaluation set on the hub; without an evaluation set, one "
        "of the dataset itself.",
        max_length=_HUB_NAME,
    )

    @property
    def is_evaluated(self) -> bool:
        """Whether any rows are kept apart."""
        return self.eval_fraction > 0 or self.has_own_evaluation

    @property
    def has_own_evaluation(self) -> bool:
        """Whether the evaluation rows are a set of their own."""
        return any(
            name is not None for name in (self.eval_source, self.eval_config, self.eval_split)
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Every name that is read, the evaluation set's last."""
        mixed = [part.source for part in self.mixture] or [self.source]
        named = [*mixed, *([self.eval_source] if self.eval_source is not None else [])]
        return tuple(dict.fromkeys(named))

    @field_validator("config", "eval_config")
    @classmethod
    def _config_is_a_name(cls, name: str | None) -> str | None:
        return _config_name(name)

    @field_validator("split", "eval_split")
    @classmethod
    def _split_is_a_name(cls, name: str | None) -> str | None:
        return _split_name(name)

    @model_validator(mode="before")
    @classmethod
    def _first_of_mixture(cls, document: Any) -> Any:
        """With a mixture, a source that is left out is the first one's."""
        if not isinstance(document, dict) or "source" in document:
            return document
        parts = document.get("mixture")
        first = parts[0] if isinstance(parts, list) and parts else None
        source = first.get("source") if isinstance(first, dict) else getattr(first, "source", None)
        return {**document, "source": source} if isinstance(source, str) else document

    @model_validator(mode="after")
    def _one_way_to_read(self) -> DatasetSpec:
        _refuse_two_formats(self.columns, self.format)
        for part in self.mixture:
            _refuse_two_formats(part.columns or self.columns, part.format or self.format)
        return self

    @model_validator(mode="after")
    def _all_in_the_mixture(self) -> DatasetSpec:
        named = [part.source for part in self.mixture]
        if named and self.source not in named:
            raise ValueError(
                tr(
                    "the source {source} is not among the sets of the mixture; list it there "
                    "with a weight, or leave it out",
                    source=self.source[:100],
                )
            )
        if named and self.has_own_evaluation and self.eval_source is None:
            raise ValueError(tr("with a mixture, eval_config and eval_split need an eval_source"))
        return self


def _refuse_two_formats(columns: ColumnsSpec, format: str) -> None:
    """Raises ValueError where the named columns make another format than the one given."""
    if columns.format is not None and format not in ("auto", columns.format):
        raise ValueError(
            tr(
                "the columns named make the format {format}, and the format is {format_2}; "
                "set the format to auto",
                format=columns.format,
                format_2=format,
            )
        )
