"""Answers while they are generated, as a person sees them: text, counts, speeds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lora_engine.generation.decode import DecodeRow, FinishReason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LAST_TOKENS = 8  # of the prompt, decoded with an answer that goes on from it
AnswerEnd = FinishReason | Literal["failed"]


@dataclass(frozen=True)
class ColumnProgress:
    """One answer so far. `finished` is None while it grows, then why it ended.

    tokens_per_s counts from the first token on; first_token_s from the call. prompt_tokens is the
    length of the conversation before the answer. Only a column on another server ends as
    "failed", and then `problem` says what went wrong.
    """

    text: str
    tokens: int
    prompt_tokens: int
    tokens_per_s: float
    finished: AnswerEnd | None
    first_token_s: float | None
    problem: str | None = None


@dataclass(frozen=True)
class AnswerProgress:
    """Every column's answer so far; elapsed_s counts from the call."""

    columns: Mapping[str, ColumnProgress]
    elapsed_s: float

    @property
    def finished(self) -> bool:
        """Whether every answer has ended."""
        return all(column.finished for column in self.columns.values())


class ProgressReporter:
    """Turns the rows of a decode batch into progress; decodes a text only when it has grown.

    continues: an answer goes on from the prompt's text, so a space at its beginning counts.
    """

    def __init__(
        self,
        rows: Mapping[str, DecodeRow],
        tokenizer: PreTrainedTokenizerBase,
        continues: bool = False,
    ) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        self._continues = continues
        self._started = time.perf_counter()
        self._texts: dict[str, tuple[int, str]] = {}

    def progress(self) -> AnswerProgress:
        """Every row's answer as it is now."""
        columns = {name: self._column(name, row) for name, row in self._rows.items()}
        return AnswerProgress(columns, time.perf_counter() - self._started)

    def _column(self, name: str, row: DecodeRow) -> ColumnProgress:
        speed, first = 0.0, None
        if row.first_token_at is not None and row.last_token_at is not None:
            first = row.first_token_at - self._started
            elapsed = row.last_token_at - row.first_token_at
            speed = (len(row.tokens) - 1) / elapsed if elapsed > 0 else 0.0
        return ColumnProgress(
            text=self._text(name, row),
            tokens=len(row.tokens),
            prompt_tokens=len(row.prompt),
            tokens_per_s=speed,
            finished=row.finished,
            first_token_s=first,
        )

    def _text(self, name: str, row: DecodeRow) -> str:
        """The whole answer decoded anew, so no space and no split character goes wrong."""
        tokens = len(row.tokens)
        known, text = self._texts.get(name, (-1, ""))
        if known != tokens or row.finished:
            before = list(row.prompt[-LAST_TOKENS:]) if self._continues else []
            text = self._decoded([*before, *row.tokens]).removeprefix(self._decoded(before))
            self._texts[name] = (tokens, text)
        # A character whose bytes are not all here yet ends the text as U+FFFD.
        return text if row.finished else text.rstrip("\ufffd")

    def _decoded(self, tokens: list[int]) -> str:
        decoded = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(decoded)  # its stubs allow a list too, for a batch
