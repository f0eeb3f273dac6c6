"""One answer in the making: its text, where it stops, and what a reader may have of it so far.

The scheduler's thread updates it; readers in other threads take the `Snapshot` that stands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lora_engine.generation.decode import DecodeRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Snapshot:
    """An answer so far. text: what will not change any more. tokens: how many have scores."""

    text: str = ""
    tokens: int = 0
    finish: FinishReason | None = None


class Generation:
    """One prompt and its answer.

    folder: of the adapter; None is the base. stops: texts that end the answer and are not part of
    it. streams: whether the text is wanted before the end.
    """

    def __init__(
        self, folder: Path | None, row: DecodeRow, stops: Sequence[str], streams: bool
    ) -> None:
        self.folder = folder
        self.row = row
        self.snapshot = Snapshot()
        self._stops = stops
        self._streams = streams
        self._decoded = 0  # tokens that the text was made of

    def update(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take in the tokens generated since; ends the answer where it comes to a stop."""
        row = self.row
        count = len(row.tokens)
        watched = self._streams or bool(self._stops)
        if row.finished is None and not (watched and count > self._decoded):
            return
        text = _text(tokenizer, row.tokens)
        if any(stop in text for stop in self._stops):
            self._end_at_stop(tokenizer)
            return
        self._decoded = count
        if row.finished is not None:
            self.snapshot = Snapshot(text, count, "stop" if row.finished == "end" else "length")
        else:
            self.snapshot = Snapshot(self._certain(text), count)

    def _end_at_stop(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """End with the first token that completes a stop, however many came after it."""
        row = self.row
        for count in range(self._decoded + 1, len(row.tokens) + 1):
            text = _text(tokenizer, row.tokens[:count])
            found = [text.find(stop) for stop in self._stops]
            if any(place >= 0 for place in found):
                text = text[: min(place for place in found if place >= 0)]
                del row.tokens[count:], row.scores[count:]
                break
        self.snapshot = Snapshot(text, len(row.tokens), "stop")

    def _certain(self, text: str) -> str:
        """The text without what may yet turn out otherwise.

        That is a character whose bytes are not all here, or the beginning of a stop.
        """
        text = text.rstrip("\ufffd")
        held = 0
        for stop in self._stops:
            longest = min(len(stop) - 1, len(text))
            held = max(held, next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0))
        return text[: len(text) - held]


class Job:
    """The answers of one request.

    notify: called from the scheduler's thread after every change. wait_until: the time, of
    `time.monotonic()`, by which the first answer must have begun.
    """

    def __init__(self, generations: Sequence[Generation], notify: Callable[[], None]) -> None:
        self.generations = list(generations)
        self.notify = notify
        self.wait_until = time.monotonic()
        self.begun = False
        self.failure: Exception | None = None
        self._cancelled = threading.Event()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        ended = all(one.snapshot.finish is not None for one in self.generations)
        return ended or self.failure is not None

    @property
    def cancelled(self) -> bool:
        """Whether nobody reads the answers any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End all answers at the next step."""
        self._cancelled.set()


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Decoded as a whole, as Compare does it, so no space and no split character goes wrong."""
    decoded = tokenizer.decode(
        list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(decoded)  # its stubs allow a list too, for a batch
