"""The packed path: the rows of a batch end to end in one sequence (sequence packing).

There is no padding between rows, each row attends to itself alone, and the head sees only the
tokens that predict a supervised one; so do the later parts of the last layer where
`trims_last_layer`. `select` decides which models can use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import IGNORED

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

# On the CPU a 16-bit product of a new size makes oneDNN generate code for it, which takes longer
# than the product. There batches are filled up to a multiple of this many tokens.
TOKEN_MULTIPLE = 256
# Up to so many tokens, to a smaller multiple: much filler would cost more than a few sizes more.
FEW_TOKENS, FEW_MULTIPLE = 512, 64


@dataclass(frozen=True)
class PackedBatch:
    """Rows end to end.

    row_starts: the position of each row's first token, then the number of tokens. row_lengths: the
    tokens of each row, on the host. predicting: the positions whose next token is supervised.
    targets: those next tokens.
    """

    input_ids: torch.Tensor  # (1, tokens)
    position_ids: torch.Tensor  # (1, tokens), from 0 in each row
    row_starts: torch.Tensor  # (rows + 1,)
    row_lengths: tuple[int, ...]
    predicting: torch.Tensor  # (supervised,)
    targets: torch.Tensor  # (supervised,)
    tokens: int
    supervised: int

    def model_inputs(self) -> dict[str, Any]:
        """The model's arguments; the row starts go by FlashAttention's names.

        What a layer needs to know as a number is a number here: a layer that read it off a tensor
        would wait for the GPU.
        """
        longest = max(self.row_lengths)
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "use_cache": False,
            "cu_seq_lens_q": self.row_starts,
            "cu_seq_lens_k": self.row_starts,
            "max_length_q": longest,
            "max_length_k": longest,
            "row_lengths": self.row_lengths,
        }


def filler_of(count: int, multiple: int) -> int:
    """How many tokens fill a batch of `count` up to a multiple, or a small batch to a smaller."""
    return -count % (multiple if count > FEW_TOKENS else min(multiple, FEW_MULTIPLE))


def pack(rows: Sequence[TokenizedRow], device: str, multiple: int = 1) -> PackedBatch:
    """The rows in their order, end to end, then one filler row up to a multiple of tokens.

    The filler has no labels, and attends to itself alone, so it changes no loss.
    """
    import torch

    filler = filler_of(sum(len(row.input_ids) for row in rows), multiple)
    if filler:
        rows = [*rows, TokenizedRow(-1, (0,) * filler, (IGNORED,) * filler, False)]
    lengths = [len(row.input_ids) for row in rows]
    # The target of a token is its row's next token; the last token of a row predicts nothing.
    labels = [label for row in rows for label in (*row.labels[1:], IGNORED)]
    predicting = [at for at, label in enumerate(labels) if label != IGNORED]
    return PackedBatch(
        torch.tensor([[token for row in rows for token in row.input_ids]], device=device),
        torch.tensor([[at for length in lengths for at in range(length)]], device=device),
        torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device),
        tuple(lengths),
        torch.tensor(predicting, dtype=torch.long, device=device),
        torch.tensor([labels[at] for at in predicting], dtype=torch.long, device=device),
        tokens=sum(lengths) - filler,
        supervised=len(predicting),
    )


@dataclass(frozen=True)
class PackedPath:
    """See the module's docstring. A ForwardPath.

    causal_lm: the language model under the adapter. chunked_head: whether its head is one frozen
    linear layer on the decoder's last hidden states, so that `head_loss` can compute it. multiple:
    batches are filled up to a multiple of this many tokens (see TOKEN_MULTIPLE). own_attention: the
    model's implementation of attention before packing, which a KV cache needs. trims_last_layer:
    whether the last layer takes the predicting positions (`kernels/last_layer.py`).
    """

    model: nn.Module
    causal_lm: PreTrainedModel
    device: str
    chunked_head: bool
    multiple: int
    description: str
    own_attention: str
    trims_last_layer: bool = False

    def collate(self, rows: Sequence[TokenizedRow]) -> PackedBatch:
        return pack(rows, self.device, self.multiple)

    def summed_loss(self, batch: PackedBatch) -> torch.Tensor:
        """Σ −log p(token) over the supervised tokens of a batch, a scalar in float32 (nats)."""
        if self.chunked_head:
            from lora_engine.training.kernels.head_loss import summed_head_loss

            head = self.causal_lm.get_output_embeddings()
            return summed_head_loss(self._predicting(batch), head, batch.targets)
        from torch.nn.functional import cross_entropy

        return cross_entropy(self._logits(batch), batch.targets, reduction="sum")

    def log_probabilities(self, batch: PackedBatch, temperature: float = 1.0) -> torch.Tensor:
        if self.chunked_head:
            from lora_engine.training.kernels.head_loss import head_log_probabilities

            head = self.causal_lm.get_output_embeddings()
            hidden = self._predicting(batch)
            return head_log_probabilities(hidden, head, batch.targets, temperature)
        from torch.nn.functional import cross_entropy

        logits = self._logits(batch) / temperature
        return -cross_entropy(logits, batch.targets, reduction="none")

    def all_log_probabilities(self, batch: PackedBatch) -> torch.Tensor:
        return self._logits(batch).log_softmax(-1)

    def next_tokens(self, rows: Sequence[TokenizedRow]) -> list[int]:
        batch = self.collate(rows)
        last = batch.row_starts[1 : len(rows) + 1].long() - 1  # (rows,), without the filler's
        logits = self.causal_lm(**batch.model_inputs(), logits_to_keep=last).logits[0]
        return logits.argmax(-1).tolist()

    def _predicting(self, batch: PackedBatch) -> torch.Tensor:
        """The last hidden states before the supervised tokens, (supervised, hidden_size)."""
        import torch

        inputs, decoder = batch.model_inputs(), self.causal_lm.base_model
        if not (self.trims_last_layer and batch.supervised):
            hidden = decoder(**inputs).last_hidden_state[0]
            return hidden.index_select(0, batch.predicting)
        # Filled up as batches are, with a token whose state nobody takes.
        filler = batch.predicting.new_zeros(filler_of(batch.supervised, self.multiple))
        predicting = torch.cat([batch.predicting, filler])
        hidden = decoder(**inputs, predicting=predicting).last_hidden_state[0]
        return hidden[: batch.supervised]

    def _logits(self, batch: PackedBatch) -> torch.Tensor:
        """The supervised tokens' logits, (supervised, vocabulary) in float32."""
        out = self.causal_lm(**batch.model_inputs(), logits_to_keep=batch.predicting)
        return out.logits[0].float()
