"""How long a token of an answer takes: the base alone, and with what a run left.

One row is decoded greedily to a fixed length, the base and the result in turns, so that both see
the same moments of the machine; the median of the rounds counts. Adapters are measured as Compare
applies them, unmerged: one that can be merged costs nothing afterwards. Knows nothing of runs.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.generate.decode_passes import decode_batch
from lora_engine.compare.generate.mixed_lora_layer import AdapterRows
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.generation import DecodeRow, Sampling

PROMPT_TOKENS = 16
ANSWER_TOKENS = 48
ROUNDS = 5  # and one before them that is not counted


class AnswerLatency(BaseModel):
    """Milliseconds a token, and how many times the base's that is."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    ms_per_token: float
    times_base: float


def measured_beside(
    base: SharedBase, other: SharedBase, adapter: Path | None
) -> tuple[AnswerLatency, list[float]]:
    """The latency of `other` with an adapter, and the base's milliseconds a token in each round.

    other: the base itself, or another model in memory. adapter: None where `other` is whole.
    Raises EngineError for an adapter that cannot be used on it.
    """
    with other.keep_loaded({"asked": adapter}) as keys:
        rounds = [
            (milliseconds_a_token(base), milliseconds_a_token(other, keys["asked"]))
            for _ in range(ROUNDS + 1)
        ][1:]
    latency = AnswerLatency(
        ms_per_token=statistics.median(theirs for _, theirs in rounds),
        times_base=statistics.median(theirs / ours for ours, theirs in rounds),
    )
    return latency, [ours for ours, _ in rounds]


def milliseconds_a_token(shared: SharedBase, adapter: str | None = None) -> float:
    """Mean time from an answer's first token to its last. adapter: a key of a loaded one."""
    vocabulary = shared.model.config.get_text_config().vocab_size
    prompt = [number % vocabulary for number in range(3, 3 + PROMPT_TOKENS)]
    sampling = Sampling(max_new_tokens=ANSWER_TOKENS, temperature=0.0)
    row = DecodeRow(prompt, ANSWER_TOKENS, "token limit", sampling)
    batch = decode_batch(shared, [row], adapter, ends=False)
    with shared.exclusive(), shared.switch.applied([AdapterRows(AdapterVariant(adapter), 0, 1)]):
        while not batch.done:
            batch.advance()
    assert row.first_token_at is not None
    assert row.last_token_at is not None
    return 1000 * (row.last_token_at - row.first_token_at) / (len(row.tokens) - 1)
