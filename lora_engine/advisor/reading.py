"""What a run's own spec says to the advice: its rows, supervised tokens, base and guessed task.

Tokens are counted on rows spread over the set and scaled up; a set is never tokenized whole for
advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.advisor.advice import Advice, AdviceRequest, Goal, advise
from lora_engine.advisor.evidence import AdvisedTask
from lora_engine.advisor.guess_task import TaskGuess, guess_task
from lora_engine.advisor.loss_tables import spread
from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.calculator import named_source
from lora_engine.data import Row, load_dataset, tokenize_rows
from lora_engine.data.bundled_templates import choose_template
from lora_engine.data.tokenization import IGNORED
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec

COUNTED_ROWS = 200


@dataclass(frozen=True)
class AdviceForSpec:
    """Advice for a spec. rows: for training; tokens: supervised ones in them, estimated from
    `counted_rows` of them. guess: what the task was taken for; None where it was given."""

    advice: Advice
    rows: int
    tokens: int
    counted_rows: int
    guess: TaskGuess | None

    def to_json(self) -> dict[str, Any]:
        return {
            **self.advice.to_json(),
            "rows": self.rows,
            "tokens": self.tokens,
            "counted_rows": self.counted_rows,
            "guessed_task": self.guess and {"task": self.guess.task, "why": self.guess.why},
        }


def advise_for(
    spec: RunSpec,
    settings: Settings,
    *,
    goal: Goal = "balanced",
    task: AdvisedTask | None = None,
    card_gib: float | None = None,
) -> AdviceForSpec:
    """Advice for the base and the data of `spec`.

    task: the person's own word; guessed from the rows where it is None. The targets and the
    quantization are the spec's. Raises EngineError where the base or the data cannot be read.
    """
    dataset = load_dataset(spec.dataset, settings)
    counted = spread(dataset.rows, COUNTED_ROWS)
    guess = guess_task(counted, spec.task) if task is None else None
    own = spec.dataset.has_own_evaluation
    kept = 1.0 if own else 1 - spec.dataset.eval_fraction
    rows = max(1, round(dataset.trainable_rows * kept))
    tokens = max(1, round(_supervised(counted, spec, settings) / len(counted) * rows))
    request = AdviceRequest(
        task=task or (guess.task if guess else None),
        rows=rows,
        tokens=tokens,
        model=named_source(spec.base_model, settings),
        base_model=spec.base_model,
        target_modules=spec.method.target_modules,
        quantization=spec.quantization,
        card_gib=card_gib,
        goal=goal,
        batch_size=spec.optimization.batch_size,
        seq_length=spec.optimization.max_length,
    )
    return AdviceForSpec(advise(request), rows, tokens, len(counted), guess)


def _supervised(rows: Sequence[Row], spec: RunSpec, settings: Settings) -> int:
    """Tokens that the loss is on; a classifier learns one class a text or a word."""
    if spec.task == "token_classification":
        return sum(len(row.tags) for row in rows)
    if spec.task == "sequence_classification":
        return len(rows)
    own = load_tokenizer(resolve_base_model(spec.base_model, settings))
    tokenizer = choose_template(own, spec.dataset.template)
    tokenized = tokenize_rows(rows, tokenizer, spec.optimization.max_length)
    return sum(label != IGNORED for row in tokenized for label in row.labels)
