"""Answers that the model samples while it trains, by the batch decoder, and what they are worth.

Each answer draws from a seed of its own, made from the run's seed, the step, the row and the
answer's place in its group: a run that is resumed samples what it would have sampled.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.data import TokenizedRow, stop_tokens
from lora_engine.data.prompt_rows import PromptRow
from lora_engine.data.tokenization import IGNORED
from lora_engine.errors import EngineError
from lora_engine.generation import DecodeBatch, DecodeRow, Sampling
from lora_engine.generation.decode import context_length
from lora_engine.language import tr
from lora_engine.spec import ObjectiveSpec
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.forward.generating import generating
from lora_engine.training.objectives.rewards import JudgedAnswer, reward_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 256  # of the decoder's batch: more would only need memory


@dataclass(frozen=True)
class SampledAnswer:
    """An answer and its reward. tokens: with the one that ended it, where it ended by itself."""

    prompt: PromptRow
    tokens: tuple[int, ...]
    text: str
    finished: bool
    reward: float

    @property
    def learned_row(self) -> TokenizedRow:
        """The question and the answer as a row whose answer is supervised."""
        question = self.prompt.input_ids
        labels = (IGNORED,) * len(question) + self.tokens
        return TokenizedRow(self.prompt.number, question + self.tokens, labels, False)


@dataclass(frozen=True)
class Sampler:
    """Samples answers with the model of `path` as it stands, and judges them by the rules."""

    path: ForwardPath
    objective: ObjectiveSpec
    tokenizer: PreTrainedTokenizerBase
    seed: int

    def groups(self, step: int, prompts: Sequence[PromptRow]) -> list[list[SampledAnswer]]:
        """`group_size` sampled answers to each prompt."""
        size = self.objective.group_size
        asked = [prompt for prompt in prompts for _ in range(size)]
        seeds = [
            _seed(self.seed, step, place, number)
            for place in range(len(prompts))
            for number in range(size)
        ]
        answers = self._answers(asked, [self._sampling(seed) for seed in seeds])
        return [answers[start : start + size] for start in range(0, len(answers), size)]

    def greedy(self, prompts: Sequence[PromptRow]) -> list[SampledAnswer]:
        """The model's likeliest answer to each prompt."""
        likeliest = Sampling(max_new_tokens=self.objective.max_new_tokens)
        return self._answers(prompts, [likeliest] * len(prompts))

    def _sampling(self, seed: int) -> Sampling:
        objective = self.objective
        return Sampling(
            max_new_tokens=objective.max_new_tokens,
            temperature=objective.temperature,
            top_p=objective.top_p,
            seed=seed,
        )

    def _answers(
        self, prompts: Sequence[PromptRow], samplings: Sequence[Sampling]
    ) -> list[SampledAnswer]:
        with generating(self.path) as model:
            rows = [
                _row(prompt, sampling, context_length(model.config))
                for prompt, sampling in zip(prompts, samplings, strict=True)
            ]
            ends = stop_tokens(self.tokenizer, model.generation_config)
            accepted = frozenset(inspect.signature(model.forward).parameters)
            for start in range(0, len(rows), ROWS_AT_ONCE):
                batch = DecodeBatch(model, rows[start : start + ROWS_AT_ONCE], ends, accepted)
                while not batch.done:
                    batch.advance()
        texts = self.tokenizer.batch_decode([row.tokens for row in rows], skip_special_tokens=True)
        return [
            self._judged(prompt, row, text)
            for prompt, row, text in zip(prompts, rows, texts, strict=True)
        ]

    def _judged(self, prompt: PromptRow, row: DecodeRow, text: str) -> SampledAnswer:
        answer = JudgedAnswer(text, len(row.tokens), prompt.expected)
        reward = reward_of(self.objective.rules, answer)
        end = () if row.end_token is None else (row.end_token,)
        return SampledAnswer(prompt, (*row.tokens, *end), text, row.finished == "end", reward)


def _row(prompt: PromptRow, sampling: Sampling, context: int | None) -> DecodeRow:
    """context: the positions of the model, None where it does not say. Raises EngineError where
    the question leaves no room in them."""
    room = sampling.max_new_tokens if context is None else context - len(prompt.input_ids)
    if room < 1:
        raise EngineError(
            tr(
                "The question in row {number} has {count} tokens; the model reads {context}, "
                "answer included.",
                number=f"{prompt.number:,}",
                count=f"{len(prompt.input_ids):,}",
                context=f"{context:,}",
            ),
            tr("Lower the longest row (max_length), so that longer questions are left out."),
        )
    return DecodeRow(prompt.input_ids, min(room, sampling.max_new_tokens), "token limit", sampling)


def _seed(*numbers: int) -> int:
    """32 bits that depend on all the numbers."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
