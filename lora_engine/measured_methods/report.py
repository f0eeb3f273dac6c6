"""One task by several methods: what was counted of each before, and measured of each after.

Made from the runs of a sweep over the whole method, their own results, and the latencies where they
were measured. A method that could not begin, failed or was stopped keeps its row, with why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_engine.calculator import MethodCount
from lora_engine.language import tr, translatable
from lora_engine.measured_methods.latency import AnswerLatency
from lora_engine.runs import OVER, RunView, SweepView, state_name
from lora_engine.spec import METHOD, WAY_NAMES, Way, way_of

DELETED = translatable("Its run was deleted.")


@dataclass(frozen=True)
class Counted:
    """What was counted before the run.

    peak_memory_bytes: the run's own prediction, with what the process has anyway; None where it
    made none. latency: what answers cost later, in words.
    """

    trained_parameters: int | None
    peak_memory_bytes: int | None
    latency: str


@dataclass(frozen=True)
class Measured:
    """What the run measured. elapsed_s: of training, without loading. eval_loss: on the held-out
    rows at the end, in nats a token. answers: None where they were not measured."""

    trained_parameters: int | None
    peak_memory_bytes: int
    elapsed_s: float
    steps: int
    tokens_per_s: float
    train_loss: float | None
    eval_loss: float | None
    answers: AnswerLatency | None


@dataclass(frozen=True)
class MeasuredMethod:
    """One row. run: its id; None where there is none. state: the run's, refused or deleted.

    why: what went wrong, or None. learning_rate: None where there is no run.
    """

    way: Way
    run: str | None
    state: str
    why: str | None
    learning_rate: float | None
    counted: Counted | None
    measured: Measured | None

    @property
    def name(self) -> str:
        return WAY_NAMES[self.way]


@dataclass(frozen=True)
class MethodsReport:
    """All rows of one group, in the order of its methods.

    base_ms_per_token: of an answer of the base; None until it was measured. notes: for the person.
    """

    id: str
    name: str
    base_model: str
    dataset: str
    rows: tuple[MeasuredMethod, ...]
    is_over: bool
    base_ms_per_token: float | None
    notes: tuple[str, ...] = ()

    @property
    def has_latencies(self) -> bool:
        return self.base_ms_per_token is not None

    def to_json(self) -> dict[str, Any]:
        document = {key: value for key, value in vars(self).items() if key != "rows"}
        return document | {"notes": list(self.notes), "rows": [_row_json(one) for one in self.rows]}


def report_of(
    view: SweepView,
    ways: Sequence[Way],
    counts: Mapping[Way, MethodCount],
    predictions: Mapping[str, int],
    latencies: Mapping[str, AnswerLatency],
    base_ms_per_token: float | None,
    notes: Sequence[str] = (),
) -> MethodsReport:
    """The report of a group of runs, one each of `ways`.

    predictions: bytes at the peak by run. latencies: by run.
    """
    assert view.spec is not None, "the caller has read the spec"
    by_way = {way_of(run.record.spec): run for run in view.runs if run.record.spec is not None}
    refused = {one.chosen.get(METHOD): f"{one.problem} {one.remedy}" for one in view.refused}
    rows = []
    for way in ways:
        count, run = counts.get(way), by_way.get(way)
        predicted = None if run is None else predictions.get(run.id)
        counted = _counted(count, predicted)
        if run is not None:
            rows.append(_row(way, run, counted, latencies.get(run.id)))
        else:
            why = refused.get(way)
            state = "deleted" if why is None else "refused"
            rows.append(MeasuredMethod(way, None, state, why or tr(DELETED), None, counted, None))
    return MethodsReport(
        id=view.id,
        name=view.name,
        base_model=view.spec.run.base_model,
        dataset=view.spec.run.dataset.source,
        rows=tuple(rows),
        is_over=view.is_over,
        base_ms_per_token=base_ms_per_token,
        notes=tuple(notes),
    )


def _counted(count: MethodCount | None, predicted: int | None) -> Counted | None:
    if count is None:
        return None
    return Counted(count.trainable_parameters, predicted, count.latency)


def _row(
    way: Way, run: RunView, counted: Counted | None, latency: AnswerLatency | None
) -> MeasuredMethod:
    spec, result = run.record.spec, run.result
    measured = None
    if result is not None and result.steps:
        measured = Measured(
            trained_parameters=result.trained_parameters,
            peak_memory_bytes=result.peak_memory_bytes,
            elapsed_s=result.elapsed_s,
            steps=result.steps,
            tokens_per_s=result.tokens_per_s,
            train_loss=result.train_loss,
            eval_loss=result.eval_loss,
            answers=latency,
        )
    return MeasuredMethod(
        way=way,
        run=run.id,
        state=run.record.state.value,
        why=_why(run),
        learning_rate=None if spec is None else spec.optimization.learning_rate,
        counted=counted,
        measured=measured,
    )


def _why(run: RunView) -> str | None:
    """Why a run that is over did not finish; None where it did, or goes on."""
    result = run.result
    if result is not None and result.error is not None:
        return f"{tr(result.error.problem)} {tr(result.error.remedy)}"
    if result is not None and result.stopped_because is not None:
        return result.stopped_because
    if run.record.state in OVER and run.record.state.value != "finished":
        state = state_name(run.record.state)
        return run.problem or tr("It was {state} before its end.", state=state)
    return run.problem


def _row_json(row: MeasuredMethod) -> dict[str, Any]:
    document = asdict(row) | {"name": row.name}
    if row.measured is not None and row.measured.answers is not None:
        document["measured"]["answers"] = row.measured.answers.model_dump()
    return document
