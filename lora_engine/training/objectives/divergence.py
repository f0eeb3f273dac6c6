"""How far a model has moved from its base: the KL divergence on held-out answers, token by token.

KL(π ‖ π₀) = Σ_v π(v) ln(π(v)/π₀(v)) at each answer token, given the tokens before it, with π₀ the
base under the adapter that is off. It is exact at each token and measured on the first answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lora_engine.data import TokenizedRow
from lora_engine.data.preference_tokens import answers_of
from lora_engine.spec import MethodSpec
from lora_engine.training.forward.adapter_off import adapter_off
from lora_engine.training.forward.batches import IGNORED, ForwardPath
from lora_engine.training.objectives.answers import supervised_in

TOKENS_A_PASS = 256  # whose probabilities over the whole vocabulary are in memory at a time
MOST_TOKENS = 1_024


def is_off_the_start(method: MethodSpec) -> bool:
    """Whether the model with its adapter off is the model before the first step."""
    return (
        method.is_lora
        and method.init_from is None
        and method.init in ("default", "gaussian", "orthogonal", "eva")
        and method.bias == "none"
    )


def mean_divergence(path: ForwardPath, rows: Sequence[TokenizedRow]) -> float:
    """The mean over the answer tokens of the first rows (nats a token).

    The model is in evaluation mode and has an adapter. No weight and no random number changes.
    """
    total, count = 0.0, 0
    for answers in _passes(rows):
        batch = path.collate(answers)
        ours = path.all_log_probabilities(batch)  # (tokens, vocabulary)
        with adapter_off(path):
            theirs = path.all_log_probabilities(batch)
        total += float((ours.exp() * (ours - theirs)).sum())
        count += len(ours)
    return total / max(1, count)


def _passes(rows: Sequence[TokenizedRow]) -> Iterator[list[TokenizedRow]]:
    """The first answers, in lists of at most TOKENS_A_PASS answer tokens."""
    some: list[TokenizedRow] = []
    tokens, seen = 0, 0
    for answer in (_shortened(one) for row in rows for one in answers_of(row)):
        count = supervised_in(answer)
        if some and tokens + count > TOKENS_A_PASS:
            yield some
            some, tokens = [], 0
        some.append(answer)
        tokens, seen = tokens + count, seen + count
        if seen >= MOST_TOKENS:
            break
    if some:
        yield some


def _shortened(answer: TokenizedRow) -> TokenizedRow:
    """The row up to its first TOKENS_A_PASS answer tokens."""
    places = [at for at, label in enumerate(answer.labels) if at and label != IGNORED]
    if len(places) <= TOKENS_A_PASS:
        return answer
    end = places[TOKENS_A_PASS]
    return replace(answer, input_ids=answer.input_ids[:end], labels=answer.labels[:end])
