"""How long the rows of a set are in a base model's tokens, from a sample, remembered.

Knows how rows become tokens for each objective; knows nothing of what a forecast makes of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_engine.advisor.loss_tables import spread
from lora_engine.base_models import BaseModel, load_tokenizer
from lora_engine.data import Row
from lora_engine.data.bundled_templates import choose_template
from lora_engine.data.preference_tokens import learned_tokens, lengths_given, tokenize_for
from lora_engine.data.tokenization import tokenize
from lora_engine.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

SAMPLED_ROWS = 200
KEPT = 16


@dataclass(frozen=True)
class Lengths:
    """tokens: of each row of the sample. supervised: the share of them that carries the loss."""

    tokens: np.ndarray
    supervised: float


class SampledLengths:
    """Answers by what the rows are and how they are read, so that a set is tokenized once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], Lengths] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, spec: RunSpec, base: BaseModel, content: str, rows: Sequence[Row]) -> Lengths:
        """content: a hash of the whole set; rows: those to train on, of which a sample is read.

        Raises EngineError where the tokenizer or the rows cannot be read.
        """
        dataset, limit = spec.dataset, spec.optimization.max_length
        read = (dataset.eval_fraction, dataset.template, dataset.turns, dataset.reasoning)
        key = (content, len(rows), base, limit, spec.seed, spec.objective.kind, *read)
        with self._lock:
            if key not in self._known:
                self._known[key] = _measured(spec, base, rows)
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[key]


def _measured(spec: RunSpec, base: BaseModel, rows: Sequence[Row]) -> Lengths:
    tokenizer = choose_template(load_tokenizer(base), spec.dataset.template)
    limit = spec.optimization.max_length
    sample = spread(rows, SAMPLED_ROWS)
    made = tokenize_for(spec.objective, sample, lambda some: tokenize(some, tokenizer, limit)).rows
    lengths = lengths_given(made)
    return Lengths(lengths, learned_tokens(made) / max(1, int(lengths.sum())))
