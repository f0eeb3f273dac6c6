"""The metrics of a run: one row a logged step, and what each of its numbers is called.

A new metric is a field of `MetricsRow`. Whoever shows metrics (trackers, plots, tables) goes
through `METRICS`, which is made from those fields. Knows nothing of how the numbers come about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from lora_engine.files import LineWriter, parse_row, read_rows, read_tail

MetricKind = Literal["place", "loss", "number", "share", "bytes"]
TAIL_BYTES = 8_192  # about twenty rows


@dataclass(frozen=True)
class Label:
    """What a number is called where it is shown. unit: empty where there is none."""

    text: str
    kind: MetricKind
    unit: str = ""


class MetricsRow(BaseModel):
    """One logged step. An evaluation adds `eval_loss`, a classifier's also accuracy and F1.

    Figures that only some objectives measure are None elsewhere.

    Kinds: a place says where in the run the row stands; a loss may lie anywhere; a number starts
    at zero; a share lies between 0 and 1.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    seq: Annotated[int, Label("Row", "place")]
    step: Annotated[int, Label("Step", "place")]
    epoch: Annotated[float, Label("Epoch", "place")]
    loss: Annotated[float, Label("Loss", "loss", "nats a token")]
    learning_rate: Annotated[float, Label("Learning rate", "number")]
    grad_norm: Annotated[float, Label("Gradient norm", "number")]
    tokens: Annotated[int, Label("Tokens read", "place")]
    tokens_per_s: Annotated[float, Label("Tokens a second", "number")]
    elapsed_s: Annotated[float, Label("Seconds in training", "place")]
    memory_bytes: Annotated[int, Label("Memory", "bytes")]
    total_steps: Annotated[int, Label("Steps in all", "place")]
    eval_loss: Annotated[float | None, Label("Evaluation loss", "loss", "nats a token")] = None
    eval_accuracy: Annotated[float | None, Label("Accuracy", "share")] = None
    eval_f1: Annotated[float | None, Label("F1, of entities or classes", "share")] = None
    skipped_steps: Annotated[int | None, Label("Steps skipped in float16", "number")] = None
    reward: Annotated[float | None, Label("Reward", "loss")] = None
    reward_std: Annotated[float | None, Label("Reward, standard deviation", "number")] = None
    equal_groups: Annotated[float | None, Label("Prompts with equal rewards", "share")] = None
    answer_tokens: Annotated[float | None, Label("Tokens an answer", "number")] = None
    kl: Annotated[float | None, Label("KL to the reference", "number", "nats")] = None
    clipped: Annotated[float | None, Label("Clipped tokens", "share")] = None
    reward_chosen: Annotated[float | None, Label("Reward of good answers", "loss")] = None
    reward_rejected: Annotated[float | None, Label("Reward of bad answers", "loss")] = None
    reward_margin: Annotated[float | None, Label("Margin between them", "loss")] = None
    reward_accuracy: Annotated[float | None, Label("Pairs told apart", "share")] = None
    eval_reward: Annotated[float | None, Label("Reward on held-out prompts", "loss")] = None
    eval_reward_chosen: Annotated[
        float | None, Label("Reward of good held-out answers", "loss")
    ] = None
    eval_reward_rejected: Annotated[
        float | None, Label("Reward of bad held-out answers", "loss")
    ] = None
    eval_reward_margin: Annotated[float | None, Label("Held-out margin", "loss")] = None
    eval_reward_accuracy: Annotated[float | None, Label("Held-out pairs told apart", "share")] = (
        None
    )
    eval_kl: Annotated[float | None, Label("Held-out KL to the base", "number", "nats a token")] = (
        None
    )


@dataclass(frozen=True)
class Metric:
    """A field of `MetricsRow` as it is shown. unit: empty where there is none."""

    name: str
    label: str
    unit: str
    kind: MetricKind

    @property
    def is_evaluated(self) -> bool:
        """Whether only rows of an evaluation have it."""
        return self.name.startswith("eval_")

    @property
    def is_of_some_runs(self) -> bool:
        """Whether only runs of some objective or task measure it."""
        is_required = MetricsRow.model_fields[self.name].is_required()
        return not is_required and self.name != "eval_loss"

    def of(self, row: MetricsRow) -> float | None:
        return getattr(row, self.name)


def _metrics() -> Iterator[Metric]:
    for name, field in MetricsRow.model_fields.items():
        (label,) = (found for found in field.metadata if isinstance(found, Label))
        yield Metric(name, label.text, label.unit, label.kind)


METRICS: dict[str, Metric] = {metric.name: metric for metric in _metrics()}
"""Every number of a row by its name, in the order of the fields."""

CURVES: tuple[Metric, ...] = tuple(m for m in METRICS.values() if m.kind != "place")
"""Those that are drawn over the steps."""


def read_metrics(path: Path, after_seq: int = 0) -> list[MetricsRow]:
    """Every whole row with a number above `after_seq`; a torn last line is left out.

    A resumed run continues from its checkpoint and logs the steps after it again: the later row
    of a step replaces the earlier one.
    """
    by_step: dict[int, MetricsRow] = {}
    for row in read_rows(path, MetricsRow):
        by_step.pop(row.step, None)
        by_step[row.step] = row
    return [row for row in by_step.values() if row.seq > after_seq]


def last_metrics(path: Path) -> MetricsRow | None:
    """The newest whole row, read from the end of the file."""
    lines = read_tail(path, TAIL_BYTES).split(b"\n")[:-1]
    rows = (parse_row(line, MetricsRow) for line in reversed(lines))
    return next((row for row in rows if row is not None), None)


class MetricsWriter:
    """Appends rows and numbers them, going on from the last one in the file."""

    def __init__(self, path: Path) -> None:
        last = last_metrics(path)
        self._next_seq = 1 if last is None else last.seq + 1
        self._lines = LineWriter(path)

    def write(self, row: MetricsRow) -> None:
        """Append a row; its `seq` is set here. Raises OSError where the disk refuses."""
        numbered = row.model_copy(update={"seq": self._next_seq})
        # with json.dumps' spaces: runs/curve.py finds evaluations by `"eval_loss": `
        self._lines.write(json.dumps(numbered.model_dump(exclude_none=True)).encode())
        self._next_seq += 1

    def close(self) -> None:
        self._lines.close()
