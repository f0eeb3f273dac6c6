"""Many prompts at once: every prompt answered by every column, in batches.

The same engine as the chat, so a prompt's answer is the one that the chat would give.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_engine.base_models import BaseModel
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate.adapter_settings import (
    ALL_AS_TRAINED,
    AS_TRAINED,
    AdapterSettings,
)
from lora_engine.compare.generate.answer_progress import AnswerProgress
from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.compare.prompts.prompt_form import Mode
from lora_engine.data import Message
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr
from lora_engine.settings import Settings

BATCH_ROWS = 16
MAX_PROMPTS = 10_000


@dataclass(frozen=True)
class Answer:
    """A column's answer to one prompt, with its length in tokens."""

    name: str
    text: str
    tokens: int


@dataclass(frozen=True)
class PromptAnswers:
    """One prompt with every column's answer."""

    prompt: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class PromptSetResult:
    """Every prompt with each column's answer, in the order of the prompts.

    warnings: what a person should know about the adapters on this base. mode: how all of them were
    asked.
    """

    prompts: tuple[PromptAnswers, ...]
    elapsed_s: float
    warnings: tuple[str, ...]
    mode: Mode = "chat"

    def as_json(self) -> dict[str, Any]:
        """The document that `python -m lora_engine compare --json` prints."""
        return asdict(self)


def compare_prompts(
    base: BaseModel,
    adapters: Mapping[str, Path],
    prompts: Sequence[str],
    sampling: Sampling,
    settings: Settings,
    system: str | None = None,
) -> PromptSetResult:
    """Load the base with its adapters and answer every prompt with every column.

    elapsed_s does not count the loading. Raises EngineError (or a kind of it) for a base, an
    adapter or a prompt that cannot be used; then nothing has been generated.
    """
    _check_prompts(prompts)
    model = ComparisonModel.load(base, adapters, settings)
    started = time.perf_counter()
    answers = tuple(answer_prompts(model, prompts, sampling, system=system))
    elapsed_s = time.perf_counter() - started
    return PromptSetResult(answers, elapsed_s, tuple(model.warnings()), model.form.mode)


def answer_prompts(
    model: ComparisonModel,
    prompts: Sequence[str],
    sampling: Sampling,
    stop: StopSignal = NEVER_STOPPED,
    system: str | None = None,
    adapter_settings: Mapping[str, AdapterSettings] = ALL_AS_TRAINED,
) -> Iterator[PromptAnswers]:
    """Each prompt's answers, in order, as soon as its batch is done; stopped ones are left out.

    adapter_settings: how a column uses its adapter; as trained where it is not named.
    """
    steps = answer_prompts_with_ticks(model, prompts, sampling, stop, system, adapter_settings)
    return (answered for answered in steps if answered is not None)


def answer_prompts_with_ticks(
    model: ComparisonModel,
    prompts: Sequence[str],
    sampling: Sampling,
    stop: StopSignal = NEVER_STOPPED,
    system: str | None = None,
    adapter_settings: Mapping[str, AdapterSettings] = ALL_AS_TRAINED,
) -> Iterator[PromptAnswers | None]:
    """As `answer_prompts`, and None about every 60 ms while a batch is generated.

    The ticks let a page notice in the middle of a batch that its tab was closed.
    """
    _check_prompts(prompts)
    columns = list(model.columns)
    per_batch = max(1, BATCH_ROWS // len(columns))
    for start in range(0, len(prompts), per_batch):
        if stop.is_set():
            return
        batch = range(start, min(start + per_batch, len(prompts)))
        requests = [
            AnswerRequest(
                f"{number} {column}", column, conversation, adapter_settings.get(column, AS_TRAINED)
            )
            for number in batch
            for conversation in [_conversation(prompts[number], system)]
            for column in columns
        ]
        last = AnswerProgress({}, 0.0)
        for progress in model.answer_all(requests, sampling, stop):
            last = progress
            yield None
        for number in batch:
            found = {column: last.columns[f"{number} {column}"] for column in columns}
            if any(answer.finished == "stopped" for answer in found.values()):
                return
            answers = (Answer(name, answer.text, answer.tokens) for name, answer in found.items())
            yield PromptAnswers(prompts[number], tuple(answers))


def answer_conversation(
    model: ComparisonModel,
    prompts: Sequence[str],
    sampling: Sampling,
    system: str | None = None,
    adapter_settings: Mapping[str, AdapterSettings] = ALL_AS_TRAINED,
) -> Iterator[PromptAnswers]:
    """The prompts as the turns of one conversation; every column continues from its own answers."""
    _check_prompts(prompts)
    histories = {column: _conversation("", system)[:-1] for column in model.columns}
    for prompt in prompts:
        for history in histories.values():
            history.append(Message("user", prompt))
        requests = [
            AnswerRequest(name, name, tuple(turns), adapter_settings.get(name, AS_TRAINED))
            for name, turns in histories.items()
        ]
        *_, last = model.answer_all(requests, sampling)
        found = last.columns
        for column, history in histories.items():
            history.append(Message("assistant", found[column].text))
        answers = (Answer(name, answer.text, answer.tokens) for name, answer in found.items())
        yield PromptAnswers(prompt, tuple(answers))


def _conversation(prompt: str, system: str | None) -> list[Message]:
    turns = [Message("system", system)] if system else []
    return [*turns, Message("user", prompt)]


def _check_prompts(prompts: Sequence[str]) -> None:
    if not prompts:
        raise EngineError(tr("There are no prompts."), tr("Give at least one prompt."))
    if len(prompts) > MAX_PROMPTS:
        raise EngineError(
            tr(
                "There are {count} prompts; at most {max_prompts} are allowed.",
                count=f"{len(prompts):,}",
                max_prompts=f"{MAX_PROMPTS:,}",
            ),
            tr("Give a smaller set."),
        )
    for number, prompt in enumerate(prompts, 1):
        if not prompt.strip():
            raise EngineError(
                tr("Prompt {number} is empty.", number=number), tr("Write it, or leave it out.")
            )
