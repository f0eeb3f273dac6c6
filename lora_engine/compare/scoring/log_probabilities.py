"""Log-probabilities of a given text's tokens under every column, from one batch.

The token view, the strength curve, the layer switch and the held-out loss build on this. Nothing is
generated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows
from lora_engine.data import Message
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch

BATCH_ROWS = 8
MAX_ANSWER_TOKENS = 2048


def answer_tokens(
    model: ComparisonModel, messages: Sequence[Message], answer: str
) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer after it.

    Raises EngineError for an empty answer, or one that does not fit into the context.
    """
    (prompt,) = model.tokens_of([messages])
    answered = _answered(model, messages, prompt, answer)
    if not answered:
        raise EngineError(
            tr("The answer is empty."), tr("Choose an answer with at least one token.")
        )
    limit = model.shared.context_length
    room = min(MAX_ANSWER_TOKENS, MAX_ANSWER_TOKENS if limit is None else limit - len(prompt))
    if len(answered) > room:
        raise EngineError(
            tr(
                "The answer has {count} tokens; after this prompt at most {room} fit.",
                count=f"{len(answered):,}",
                room=f"{room:,}",
            ),
            tr("Choose a shorter answer."),
        )
    return prompt, answered


def _answered(
    model: ComparisonModel, messages: Sequence[Message], prompt: list[int], answer: str
) -> list[int]:
    """The answer's tokens; of one that continues a text, as they stand in the whole text."""
    if model.form.mode == "completion":
        (whole,) = model.tokens_of([[*messages, Message("assistant", answer)]])
        if whole[: len(prompt)] == prompt:
            return whole[len(prompt) :]
    return list(model.shared.tokenizer(answer, add_special_tokens=False)["input_ids"])


def next_token_logits(
    model: ComparisonModel, tokens: Sequence[int], first: int, variants: Sequence[AdapterVariant]
) -> Iterator[torch.Tensor]:
    """For each variant, logits (len(tokens) - first, vocabulary) that predict tokens[first:].

    The adapters of the variants must be borrowed. Plain ones share batches of 8 rows. The model
    is free for other callers between batches. Raises EngineError where the tokens do not fit the
    model behind an adapter's virtual tokens.
    """
    import torch

    shared = model.shared
    ids = torch.tensor([list(tokens)], device=shared.model.device)
    wanted = len(tokens) - first + 1
    for group in _batches(model, variants):
        slices = [AdapterRows(variant, row, row + 1) for row, variant in enumerate(group)]
        keep = {"logits_to_keep": wanted} if "logits_to_keep" in shared.accepted else {}
        begun = _begun(model, group[0], len(tokens))
        with shared.exclusive(), torch.inference_mode(), shared.switch.applied(slices):
            logits = shared.model(input_ids=ids.repeat(len(group), 1), **begun, **keep)
        # (group, positions, vocabulary); the last position predicts a token that is not there
        for row in logits.logits[:, -wanted:-1]:
            yield row.float()


def log_probabilities(logits: torch.Tensor, targets: Sequence[int]) -> torch.Tensor:
    """ln p of each target, (positions,), from logits (positions, vocabulary)."""
    import torch

    chosen = torch.tensor(list(targets), device=logits.device)[:, None]
    return logits.log_softmax(-1).gather(-1, chosen)[:, 0]


def _begun(model: ComparisonModel, variant: AdapterVariant, tokens: int) -> dict[str, Any]:
    """What the forward is given besides the tokens: a cache that virtual tokens begin, or none."""
    virtual = model.shared.switch.virtual_tokens(variant.adapter)
    if virtual is None:
        return {"use_cache": False}
    limit = model.shared.context_length
    if limit is not None and virtual.length + tokens > limit:
        raise EngineError(
            tr(
                "{tokens} tokens and the adapter's {length} virtual ones are more than the "
                "{limit} that this model reads.",
                tokens=f"{tokens:,}",
                length=f"{virtual.length:,}",
                limit=f"{limit:,}",
            ),
            tr("Choose a shorter text, or leave this adapter out."),
        )
    return {"past_key_values": virtual.cache(1), "use_cache": True}


def _batches(
    model: ComparisonModel, variants: Sequence[AdapterVariant]
) -> Iterator[list[AdapterVariant]]:
    """The variants in order, in groups that one forward pass can score."""
    group: list[AdapterVariant] = []
    for variant in variants:
        alone = model.shared.switch.needs_own_pass(variant.adapter)
        if group and (alone or len(group) == BATCH_ROWS):
            yield group
            group = []
        if alone:
            yield [variant]
        else:
            group.append(variant)
    if group:
        yield group
