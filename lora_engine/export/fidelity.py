"""The export fidelity meter: does what was written answer as what was trained?

    agreement   share of greedy answers that are the same to the letter
    KL          mean over supervised positions of sum p ln(p / q), p trained, q exported, in nats
    loss        mean of -ln p over the supervised tokens, as everywhere

on the adapter's own held-out rows, or on general questions where it does not say what it was
trained on. Knows nothing of how a form is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapter_operations.merge_proof import overflow, proof_rows
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.compare.generate import AnswerRequest, ComparisonModel, Sampling
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.scoring.log_probabilities import log_probabilities, next_token_logits
from lora_engine.data import Message, Row, TokenizedRow, tokenize_rows
from lora_engine.data.tokenization import IGNORED
from lora_engine.errors import EngineError
from lora_engine.export.forms import Requantization
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spectrum import ReportProgress, WorkMonitor

if TYPE_CHECKING:
    import torch

ROWS = 32
ANSWERS = 8
ANSWER_TOKENS = 32
LONGEST = 2048  # tokens of a row
TRAINED, EXPORTED = "trained", "exported"


@dataclass(frozen=True)
class Voice:
    """Who answers: a column of a model in memory."""

    model: ComparisonModel
    column: str


@dataclass(frozen=True)
class Fidelity:
    """How far an export is from what was trained.

    agreement: of `answers` greedy answers; None where no row has a question. kl, loss_before
    (trained), loss_after (exported): over `positions` supervised tokens of `rows` rows.
    rows_from: held-out or general.
    """

    agreement: float | None
    answers: int
    kl: float
    loss_before: float
    loss_after: float
    rows: int
    positions: int
    rows_from: str


@dataclass(frozen=True)
class RequantizedFidelity(Fidelity):
    """As Fidelity, of the export on a base that was requantized, to `bits`."""

    quantization: Requantization
    bits: int


def measure(
    trained: Voice,
    exported: Voice,
    adapter: Path,
    settings: Settings,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> Fidelity:
    """Fidelity of `exported` to `trained`, which may be columns of one model or of two.

    adapter: the folder of the adapter whose held-out rows are taken.
    Raises EngineError where the base cannot read its rows, and where an answer is no number because
    the factors overflow the model; Stopped.
    """
    monitor = WorkMonitor(progress, stop)
    shared, chosen = trained.model.shared, proof_rows(adapter, None, settings, ROWS)
    length = min(shared.context_length or LONGEST, LONGEST)
    tokenized = tokenize_rows(chosen.rows, trained.model.tokenizer, length)
    sums = _Sums()
    for number, row in enumerate(tokenized):
        doing = tr("row {number} of {count}", number=number + 1, count=len(tokenized))
        monitor.step(0.6 * number / len(tokenized), doing)
        sums.add(row, _logits(trained, row), _logits(exported, row))
    sums.check()
    monitor.step(0.6, tr("greedy answers"))
    questions = [turns for row in chosen.rows if (turns := _question(row))][:ANSWERS]
    pairs = zip(*(_answers(one, questions, stop) for one in (trained, exported)), strict=True)
    same = sum(before == after for before, after in pairs)
    monitor.step(1.0, tr("fidelity"))
    return Fidelity(
        agreement=same / len(questions) if questions else None,
        answers=len(questions),
        kl=sums.kl / sums.positions,
        loss_before=sums.before / sums.positions,
        loss_after=sums.after / sums.positions,
        rows=len(tokenized),
        positions=sums.positions,
        rows_from=chosen.source,
    )


@dataclass
class _Sums:
    """Sums over supervised positions."""

    positions: int = 0
    kl: float = 0.0
    before: float = 0.0
    after: float = 0.0

    def add(self, row: TokenizedRow, before: torch.Tensor, after: torch.Tensor) -> None:
        """Logits (tokens - 1, vocabulary) of a row under the trained and the exported one."""
        kept = [i - 1 for i, label in enumerate(row.labels) if label != IGNORED and i > 0]
        if not kept:
            return
        targets = [row.input_ids[i + 1] for i in kept]
        before, after = before[kept].double(), after[kept].double()
        p = before.log_softmax(-1)
        self.kl += float((p.exp() * (p - after.log_softmax(-1))).sum())
        self.before -= float(log_probabilities(before, targets).sum())
        self.after -= float(log_probabilities(after, targets).sum())
        self.positions += len(kept)

    def check(self) -> None:
        """Raises EngineError where there is nothing to measure, or no number."""
        if not self.positions:
            raise EngineError(
                tr("No row has a supervised token."), tr("Leave the measurement out.")
            )
        if not math.isfinite(self.before):
            raise overflow()
        if not (math.isfinite(self.after) and math.isfinite(self.kl)):
            raise EngineError(
                tr("The export gives no finite loss, and the adapter on its base does."),
                tr("Do not use it; export it in another form or in a wider dtype."),
            )


def _logits(voice: Voice, row: TokenizedRow) -> torch.Tensor:
    """Logits (tokens - 1, vocabulary) that predict each token of the row after its first."""
    model = voice.model
    with model.shared.keep_loaded({voice.column: model.columns[voice.column]}) as keys:
        variants = [AdapterVariant(keys[voice.column])]
        (found,) = next_token_logits(model, row.input_ids, 1, variants)
    return found


def _answers(voice: Voice, questions: Sequence[Sequence[Message]], stop: StopSignal) -> list[str]:
    """The greedy answer to each question."""
    requests = [
        AnswerRequest(str(number), voice.column, turns) for number, turns in enumerate(questions)
    ]
    texts: dict[str, str] = {}
    for step in voice.model.answer_all(requests, Sampling(max_new_tokens=ANSWER_TOKENS), stop):
        texts = {name: one.text for name, one in step.columns.items()}
    return [texts[request.name] for request in requests]


def _question(row: Row) -> tuple[Message, ...]:
    """The turns up to the last answer; empty where the row has no question or uses tools."""
    if not row.messages or row.messages[-1].role != "assistant" or row.tools:
        return ()
    return row.messages[:-1]
