"""The decode loop: a batch of rows gets one token a row in each step, over a growing cache.

Rows are padded on the left, so that the newest position of every row is the last column; positions
count real tokens only. A row that has ended leaves the batch, which makes the rest faster; a batch
whose prompts are read can join another between two steps. The loop knows token ids and logits, no
text and no adapters: its caller puts the adapters of the rows that are left in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lora_engine.generation.kv_cache import drop_first, growing_cache, join, keep_rows
from lora_engine.generation.sampling import Sampling, TokenChooser
from lora_engine.generation.token_scores import TokenScore, score_tokens
from lora_engine.generation.virtual_tokens import VirtualTokens

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

PREFILL_CHUNK = 512  # positions read at a time: a long prompt may be stopped, and needs less memory
SCORED_LOGITS = 2**26  # numbers held at a time where every position of a prompt is scored
WASTE = 4  # padding that every row has is cut off once it is a quarter of the cache

FinishReason = Literal["end", "token limit", "context full", "stopped"]


@dataclass
class DecodeRow:
    """One answer in the making. Times are `time.perf_counter()`.

    limit_reason: why the answer ends if it reaches token_limit; with a limit of 0 the prompt is
    read and nothing generated. end_tokens: ids that end this answer besides those that end every
    one. likeliest: how many tokens to record beside the score of each
    generated one; None records no scores. `scores_prompt` records those of the prompt's tokens too,
    from the second on. end_token: the one that ended the answer; it is not among its tokens.
    """

    prompt: Sequence[int]
    token_limit: int
    limit_reason: FinishReason
    sampling: Sampling
    end_tokens: frozenset[int] = frozenset()
    likeliest: int | None = None
    scores_prompt: bool = False
    scores: list[TokenScore] = field(default_factory=list)
    prompt_scores: list[TokenScore] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    finished: FinishReason | None = None
    end_token: int | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None


class DecodeBatch:
    """Generates for all rows together, one `advance()` at a time.

    model: the language model; the adapters of `rows` must be in place during `advance`.
    accepted: the names of the arguments that the model's forward takes. virtual: tokens that stand
    before every row; they are in the cache already, and no row's length counts them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[DecodeRow],
        end_tokens: frozenset[int],
        accepted: frozenset[str],
        virtual: VirtualTokens | None = None,
    ) -> None:
        import torch

        config = model.config.get_text_config()
        self.model = model
        self.rows = list(rows)
        self._end_tokens = end_tokens
        self._accepted = accepted
        if virtual is None:
            self._cache = growing_cache(config.num_hidden_layers)
        else:
            self._cache = virtual.cache(len(self.rows))
        self._cached = 0 if virtual is None else virtual.length
        self._chooser = TokenChooser(
            [row.sampling for row in rows], [row.prompt for row in rows], config.vocab_size
        )
        self._scores_prompts = any(row.scores_prompt for row in rows)
        room = SCORED_LOGITS // (len(rows) * config.vocab_size)
        self._chunk = min(PREFILL_CHUNK, max(16, room)) if self._scores_prompts else PREFILL_CHUNK
        device = next(model.parameters()).device
        # _unread (rows, n): tokens not yet in the cache; _mask (rows, cached + n): 0 at padding
        self._unread, mask = (part.to(device) for part in _padded_left(rows))
        self._mask = torch.nn.functional.pad(mask, (self._cached, 0), value=1)
        self._positions = (self._mask.cumsum(-1) - 1).clamp_(min=0)[:, self._cached :]
        self._has_padding = bool((self._mask == 0).any())
        self._reads_prompts = True

    @property
    def done(self) -> bool:
        """Whether every row has ended."""
        return not self.rows

    @property
    def reads_prompts(self) -> bool:
        """Whether no row has its first token yet."""
        return self._reads_prompts

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
            self._score(logits, chosen.tolist())
            kept = self._record(chosen.tolist())
            self._reads_prompts = False
            self._unread = chosen[:, None]  # (rows, 1)
            self._positions = self._positions[:, -1:] + 1  # (rows, 1)
            if self._has_padding:
                # Without padding the model makes its own causal mask, which is cheaper.
                self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
            ended = len(kept) < len(chosen)
            if ended:
                self._keep(kept)
        return ended

    def stop(self) -> None:
        """End every row where it is."""
        self.end_rows(self.rows)

    def end_rows(self, rows: Sequence[DecodeRow]) -> None:
        """End these rows where they are; the others go on."""
        import torch

        ended = {id(row) for row in rows}
        kept = [index for index, row in enumerate(self.rows) if id(row) not in ended]
        for row in rows:
            row.finished = row.finished or "stopped"
        with torch.inference_mode():
            self._keep(kept)

    def join(self, other: DecodeBatch, order: Callable[[DecodeRow], int]) -> None:
        """Take in the rows of another batch of this model; both have read their prompts.

        order: rows with equal numbers stand side by side, the numbers upwards. `other` is used up.
        """
        import torch

        assert not self.reads_prompts
        assert not other.reads_prompts
        with torch.inference_mode():
            mask, theirs = self._whole_mask(), other._whole_mask()
            wide = max(mask.shape[-1], theirs.shape[-1])
            pad = torch.nn.functional.pad
            self._mask = torch.cat(
                [pad(one, (wide - one.shape[-1], 0)) for one in (mask, theirs)]
            )  # (rows of both, cached + 1)
            self._has_padding = True
            join(self._cache, other._cache)
            self._cached = max(self._cached, other._cached)
            self._unread = torch.cat([self._unread, other._unread])
            self._positions = torch.cat([self._positions, other._positions])
            self._chooser.join(other._chooser)
            self.rows += other.rows
            other.rows = []
            places = range(len(self.rows))
            self._keep(sorted(places, key=lambda place: order(self.rows[place])))

    def _read_chunk(self) -> torch.Tensor:
        """Forward over the next unread chunk; logits (rows, vocabulary) of its last position."""
        chunk = self._unread[:, : self._chunk]
        size = chunk.shape[-1]
        offered = {
            "attention_mask": self._mask[:, : self._cached + size] if self._has_padding else None,
            "position_ids": self._positions[:, :size],
            "past_key_values": self._cache,
            "use_cache": True,
            "logits_to_keep": 0 if self._scores_prompts else 1,  # 0 keeps all
        }
        accepted = {name: value for name, value in offered.items() if name in self._accepted}
        logits = self.model(input_ids=chunk, **accepted).logits
        if self._scores_prompts:
            self._score_prompts(logits)
            self._scores_prompts = self._unread.shape[-1] > size
        logits = logits[:, -1]
        self._cached += size
        self._unread = self._unread[:, size:]
        if self._unread.shape[-1]:
            self._positions = self._positions[:, size:]
        return logits

    def _score_prompts(self, logits: torch.Tensor) -> None:
        """Score the prompts' tokens that a chunk's logits (rows, positions, vocabulary) predict."""
        width = self._cached + self._unread.shape[-1]
        for row, of_row in zip(self.rows, logits, strict=True):
            if not row.scores_prompt:
                continue
            padding = width - len(row.prompt)
            first = max(self._cached, padding)  # the first column that stands for a token
            targets = row.prompt[first + 1 - padding : self._cached + logits.shape[1] + 1 - padding]
            start = first - self._cached
            scored = of_row[start : start + len(targets)]
            row.prompt_scores += score_tokens(scored, targets, row.likeliest or 0)

    def _score(self, logits: torch.Tensor, chosen: Sequence[int]) -> None:
        """Score the tokens just chosen, of the rows that want it; logits (rows, vocabulary)."""
        for index, row in enumerate(self.rows):
            if row.likeliest is not None and row.token_limit:
                row.scores += score_tokens(logits[index, None], [chosen[index]], row.likeliest)

    def _record(self, chosen: Sequence[int]) -> list[int]:
        """Give each row its token. Returns the indices of the rows that go on."""
        kept = []
        now = time.perf_counter()
        for index, (row, token) in enumerate(zip(self.rows, chosen, strict=True)):
            row.last_token_at = now
            if row.first_token_at is None:
                row.first_token_at = now
            if not row.token_limit:
                row.finished = row.limit_reason
                continue
            if token in self._end_tokens or token in row.end_tokens:
                row.finished, row.end_token = "end", token
                continue
            row.tokens.append(token)
            if len(row.tokens) >= row.token_limit:
                row.finished = row.limit_reason
            else:
                kept.append(index)
        return kept

    def _keep(self, kept: Sequence[int]) -> None:
        """Keep these rows alone, in this order, in every buffer."""
        import torch

        self.rows = [self.rows[index] for index in kept]
        if not kept:
            return
        indices = torch.tensor(kept, dtype=torch.long, device=self._unread.device)
        keep_rows(self._cache, indices)
        self._chooser.keep_rows(indices)
        self._unread = self._unread[indices]
        self._positions = self._positions[indices]
        self._mask = self._mask[indices]
        if self._has_padding and not self.reads_prompts:
            self._cut_padding()

    def _cut_padding(self) -> None:
        """Forget the first columns where no row has a token, once they are a good part of all."""
        padding = int(self._mask.any(0).int().argmax())  # columns that are 0 in every row
        if padding * WASTE > self._cached:
            drop_first(self._cache, padding)
            self._cached -= padding
            self._mask = self._mask[:, padding:]
            self._has_padding = bool((self._mask == 0).any())

    def _whole_mask(self) -> torch.Tensor:
        """The mask with every column up to the unread token, (rows, cached + 1)."""
        if self._has_padding:
            return self._mask
        return self._mask.new_ones((len(self.rows), self._cached + 1))


def context_length(config: PretrainedConfig) -> int | None:
    """How many positions the model was made for, or None where its configuration is silent."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


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
