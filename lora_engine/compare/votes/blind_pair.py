"""Two columns answer one question without saying which is which.

The operating system's randomness draws the pair and its sides. Until the person votes, nothing
but the two texts should leave this process.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate.answer_progress import AnswerProgress
from lora_engine.compare.generate.comparison_model import (
    BASE_COLUMN,
    AnswerRequest,
    ComparisonModel,
)
from lora_engine.compare.votes.vote_store import Contestant
from lora_engine.data import Message
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from lora_engine.language import tr

LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class BlindPair:
    """The columns on the left and on the right."""

    left: str
    right: str


def draw_pair(model: ComparisonModel) -> BlindPair:
    """Two different columns at random, on random sides. Raises EngineError for a base alone."""
    columns = list(model.columns)
    if len(columns) < 2:
        raise EngineError(tr("There is only the base to vote on."), tr("Choose an adapter above."))
    return BlindPair(*secrets.SystemRandom().sample(columns, 2))


def answer_pair(
    model: ComparisonModel,
    pair: BlindPair,
    messages: Sequence[Message],
    sampling: Sampling,
    stop: StopSignal,
) -> Iterator[AnswerProgress]:
    """Both answers from one batch, reported as `left` and `right`; adapters as trained."""
    requests = [
        AnswerRequest(LEFT, pair.left, messages),
        AnswerRequest(RIGHT, pair.right, messages),
    ]
    return model.answer_all(requests, sampling, stop)


def contestant(model: ComparisonModel, column: str, name: str) -> Contestant:
    """The contestant in a column, identified by the adapter's content, not by its name."""
    folder = model.columns[column]
    if folder is None:
        return Contestant(BASE_COLUMN, name)
    check = model.shared.check_of(model.shared.add_adapter(folder))
    return Contestant(check.sha256[:16], name)
