"""The decode loop: a batch of rows gets one token a row in each step, over a growing cache.

Rows are padded on the left, so that the newest position of every row is the last column; positions
count real tokens only. A row that has ended leaves the batch, which makes the rest faster. The loop
knows token ids and logits, no text and no adapters: its caller puts the adapters of the rows that
are left in place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lora_engine.compare.generate.kv_cache import growing_cache, keep_rows
from lora_engine.compare.generate.sampling import Sampling, TokenChooser

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PREFILL_CHUNK = 512  # positions read at a time: a long prompt may be stopped, and needs less memory

FinishReason = Literal["end", "token limit", "context full", "stopped"]


@dataclass
class DecodeRow:
    """One answer in the making. Times are `time.perf_counter()`.

    limit_reason: why the answer ends if it reaches token_limit.
    """

    prompt: Sequence[int]
    token_limit: int
    limit_reason: FinishReason
    tokens: list[int] = field(default_factory=list)
    finished: FinishReason | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None


class DecodeBatch:
    """Generates for all rows together, one `advance()` at a time.

    model: the language model; the adapters of `rows` must be in place during `advance`.
    accepted: the names of the arguments that the model's forward takes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[DecodeRow],
        sampling: Sampling,
        end_tokens: frozenset[int],
        accepted: frozenset[str],
    ) -> None:
        config = model.config.get_text_config()
        self.model = model
        self.rows = list(rows)
        self._end_tokens = end_tokens
        self._accepted = accepted
        self._cache = growing_cache(config.num_hidden_layers)
        self._cached = 0
        self._chooser = TokenChooser(sampling, [row.prompt for row in rows], config.vocab_size)
        device = next(model.parameters()).device
        # _unread (rows, n): tokens not yet in the cache; _mask (rows, cached + n): 0 at padding
        self._unread, self._mask = (part.to(device) for part in _padded_left(rows))
        self._positions = (self._mask.cumsum(-1) - 1).clamp_(min=0)
        self._has_padding = bool((self._mask == 0).any())

    @property
    def done(self) -> bool:
        """Whether every row has ended."""
        return not self.rows

    def advance(self) -> bool:
        """Do one piece of work: read a chunk of the prompts, or generate one token a row.

        Returns whether rows have ended and left the batch.
        """
        import torch

        with torch.inference_mode():
            logits = self._read_chunk()  # (rows, vocabulary)
            if self._unread.shape[-1]:
                return False
            chosen = self._chooser.choose(logits)  # (rows,)
            kept = self._record(chosen.tolist())
            ended = len(kept) < len(chosen)
            if ended:
                chosen = self._drop_ended(kept, chosen)
            self._unread = chosen[:, None]  # (rows, 1)
            self._positions = self._positions[:, -1:] + 1  # (rows, 1)
            if self._has_padding:
                # Without padding the model makes its own causal mask, which is cheaper.
                self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        return ended

    def stop(self) -> None:
        """End every row where it is."""
        for row in self.rows:
            row.finished = "stopped"
        self.rows = []

    def _read_chunk(self) -> torch.Tensor:
        """Forward over the next unread chunk; logits (rows, vocabulary) of its last position."""
        chunk = self._unread[:, :PREFILL_CHUNK]
        size = chunk.shape[-1]
        offered = {
            "attention_mask": self._mask[:, : self._cached + size] if self._has_padding else None,
            "position_ids": self._positions[:, :size],
            "past_key_values": self._cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        accepted = {name: value for name, value in offered.items() if name in self._accepted}
        logits = self.model(input_ids=chunk, **accepted).logits[:, -1]
        self._cached += size
        self._unread = self._unread[:, size:]
        if self._unread.shape[-1]:
            self._positions = self._positions[:, size:]
        return logits

    def _record(self, chosen: Sequence[int]) -> list[int]:
        """Give each row its token. Returns the indices of the rows that go on."""
        kept = []
        now = time.perf_counter()
        for index, (row, token) in enumerate(zip(self.rows, chosen, strict=True)):
            row.last_token_at = now
            if row.first_token_at is None:
                row.first_token_at = now
            if token in self._end_tokens:
                row.finished = "end"
                continue
            row.tokens.append(token)
            if len(row.tokens) >= row.token_limit:
                row.finished = row.limit_reason
            else:
                kept.append(index)
        return kept

    def _drop_ended(self, kept: list[int], chosen: torch.Tensor) -> torch.Tensor:
        """Shrink the batch to the rows `kept`, in every buffer. Returns their tokens, (kept,)."""
        import torch

        self.rows = [self.rows[index] for index in kept]
        indices = torch.tensor(kept, dtype=torch.long, device=chosen.device)
        if kept:
            keep_rows(self._cache, indices)
            self._chooser.keep_rows(indices)
        self._positions = self._positions[indices]
        self._mask = self._mask[indices]
        return chosen[indices]


def _padded_left(rows: Sequence[DecodeRow]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (rows, longest prompt) each; id 0 stands where the mask is 0."""
    import torch

    length = max(len(row.prompt) for row in rows)
    tokens = torch.zeros((len(rows), length), dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, length - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[index, length - len(row.prompt) :] = 1
    return tokens, mask
