"""The reference of a preference run: the model as it is before the first step.

With a new adapter that is the base model, the adapter's update being zero; with an adapter to go on
from it is that adapter on its base. Its log-probabilities of the rows never change, so they are
computed once, before the first step, and kept in the run's folder: 8 bytes a row, no second copy of
the model, no second pass in a step, and a resumed run goes on with the same numbers.
"""

from __future__ import annotations

import logging
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from lora_engine.data import TokenizedRow
from lora_engine.data.preference_tokens import JudgedRow, PairRow
from lora_engine.files import atomic_file
from lora_engine.training.forward.batches import ForwardPath
from lora_engine.training.objectives.answers import score_answers, score_pairs
from lora_engine.training.objectives.preferences import mismatched
from lora_engine.training.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    import torch

FILE = "reference.npz"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
log = logging.getLogger("lora_engine.training.worker")


class StoppedBeforeTraining(Exception):
    """The person stopped the run while its reference was computed. Nothing of that is kept."""


@dataclass(frozen=True)
class Reference:
    """Σ ln p under the reference (nats), (rows, 2) in float32; NaN for rows no step will see.

    Columns: chosen and rejected answer, or a judged answer and the one to estimate the KL with.
    """

    training: np.ndarray
    evaluation: np.ndarray


class ReferencedRows(Sequence[TokenizedRow]):
    """Rows with their reference's log-probabilities in them."""

    def __init__(self, rows: Sequence[TokenizedRow], values: np.ndarray) -> None:
        """values: (rows, 2)."""
        self._rows, self._values = rows, values

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[TokenizedRow]:
        return map(_with_reference, self._rows, self._values)

    @overload
    def __getitem__(self, index: int) -> TokenizedRow: ...
    @overload
    def __getitem__(self, index: slice) -> ReferencedRows: ...
    def __getitem__(self, index: int | slice) -> TokenizedRow | ReferencedRows:
        if isinstance(index, slice):
            return ReferencedRows(self._rows[index], self._values[index])
        return _with_reference(self._rows[index], self._values[index])


def compute_reference(
    path: ForwardPath,
    training: Sequence[TokenizedRow],
    evaluation: Sequence[TokenizedRow],
    plan: Plan,
    max_length: int,
    should_stop: Callable[[], bool],
) -> Reference:
    """The log-probabilities under the model as it stands. No weight and no random number changes.

    Rows go together as the plan and the evaluation put them into batches: a kto row's other answer
    comes from its own batch. should_stop: asked before each batch; raises StoppedBeforeTraining.
    """
    started = time.perf_counter()
    seen = range(1, min(plan.total_steps, plan.steps_per_epoch) + 1)
    batches = (batch for step in seen for batch in plan.batches(step))
    slices = (
        range(at, min(at + plan.batch_size, len(evaluation)))
        for at in range(0, len(evaluation), plan.batch_size)
    )
    reference = Reference(
        _values(path, training, batches, max_length, should_stop),
        _values(path, evaluation, slices, max_length, should_stop),
    )
    seconds = time.perf_counter() - started
    rows = len(training) + len(evaluation)
    log.info("the reference's log-probabilities of up to %d rows took %.1f s", rows, seconds)
    return reference


def write_reference(folder: Path, key: str, reference: Reference) -> None:
    """Keep them in a run's folder; key: of the run's spec, data and base."""
    import numpy as np

    with atomic_file(folder / FILE) as file:
        np.savez(
            file, key=np.array(key), training=reference.training, evaluation=reference.evaluation
        )


def read_reference(folder: Path, key: str, rows: tuple[int, int]) -> Reference | None:
    """Those of a run's folder; None where there are none of this key and these numbers of rows."""
    import numpy as np

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = Reference(file["training"], file["evaluation"])
            is_ours = str(file["key"]) == key
    except UNREADABLE as error:
        log.warning("%s cannot be read and is made again: %s", path.name, error)
        return None
    fits = (found.training.shape, found.evaluation.shape) == ((rows[0], 2), (rows[1], 2))
    return found if is_ours and fits else None


def _values(
    path: ForwardPath,
    rows: Sequence[TokenizedRow],
    batches: Iterable[Sequence[int]],
    max_length: int,
    should_stop: Callable[[], bool],
) -> np.ndarray:
    import numpy as np
    import torch

    found = np.full((len(rows), 2), np.nan, np.float32)
    path.model.eval()
    with torch.inference_mode():
        for places in batches:
            if should_stop():
                raise StoppedBeforeTraining
            columns = _columns(path, [rows[place] for place in places], max_length)
            found[list(places)] = torch.stack(columns, 1).cpu().numpy()
    path.model.train()
    return found


def _columns(
    path: ForwardPath, rows: Sequence[TokenizedRow], max_length: int
) -> list[torch.Tensor]:
    """The two columns of a batch, (rows,) each."""
    pairs = [row for row in rows if isinstance(row, PairRow)]
    if pairs:
        scored = score_pairs(path, pairs, with_questions=False)
        return [scored.chosen.log_probabilities, scored.rejected.log_probabilities]
    judged = [row for row in rows if isinstance(row, JudgedRow)]
    own, _ = score_answers(path, judged)
    others, _ = score_answers(path, mismatched(judged, max_length))
    return [own.log_probabilities, others.log_probabilities]


def _with_reference(row: TokenizedRow, values: np.ndarray) -> TokenizedRow:
    assert isinstance(row, PairRow | JudgedRow), "rows of preferences"
    return replace(row, reference=tuple(values.tolist()))
