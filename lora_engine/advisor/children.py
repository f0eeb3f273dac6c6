"""The runs that are judged together: what of each is there, and why the others are missing.

Only runs of one experiment can be judged: one base model, one dataset and one task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapters.check import check_adapter
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.advisor.curve_signs import CurveSigns, read_signs
from lora_engine.base_models import resolve_base_model
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.runs import RunState, RunView
from lora_engine.runs.curve import read_curve
from lora_engine.settings import Settings
from lora_engine.spec import QuantizationSpec, RunSpec, Task
from lora_engine.weights.safetensors_file import scan

SAME_SETTING = ("name", "seed", "report", "extended_from")  # may differ within one setting


@dataclass(frozen=True)
class Child:
    """A finished run with its adapter. parameters: numbers in the adapter; bytes: of its file."""

    id: str
    spec: RunSpec
    adapter: Path
    parameters: int
    bytes: int
    result: RunResult
    signs: CurveSigns

    @property
    def rank(self) -> int:
        return self.spec.method.rank

    @property
    def learning_rate(self) -> float:
        return self.spec.optimization.learning_rate

    @property
    def setting(self) -> str:
        """Equal for runs that differ in their seed alone."""
        return self.spec.model_dump_json(exclude=set(SAME_SETTING))


@dataclass(frozen=True)
class MissingChild:
    """A run that cannot be judged, and why. rank and the rest: None where its spec is unreadable.

    state: the run's, or `deleted`.
    """

    id: str
    rank: int | None
    learning_rate: float | None
    seed: int | None
    state: str
    why: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Children:
    """The runs of one experiment, in the order asked for."""

    present: tuple[Child, ...]
    missing: tuple[MissingChild, ...]

    @property
    def task(self) -> Task:
        return self.present[0].spec.task

    @property
    def quantization(self) -> QuantizationSpec | None:
        """How all of them quantized their base; None where they did not, or differ."""
        first = self.present[0].spec.quantization
        alike = all(one.spec.quantization == first for one in self.present)
        return first if alike else None


def read_children(
    views: Iterable[RunView],
    directory: Callable[[str], RunDirectory],
    settings: Settings,
    deleted: Sequence[str] = (),
) -> Children:
    """What can be judged of these runs. deleted: the names of runs that are gone.

    A run whose adapter is unsound, or whose base is gone or another, is missing and no error.

    Raises InvalidInput where they are no one experiment; EngineError where none can be judged.
    """
    present, missing = [], []
    for view in views:
        found = _child(view, directory(view.id), settings)
        if isinstance(found, Child):
            present.append(found)
        else:
            missing.append(found)
    missing += [
        MissingChild(one, None, None, None, "deleted", tr("It was deleted.")) for one in deleted
    ]
    if not present:
        reasons = "; ".join(f"{one.id}: {one.why}" for one in missing[:5])
        raise EngineError(
            tr(
                "None of {count} runs can be judged: {reasons}",
                count=len(missing),
                reasons=reasons or tr("none is named"),
            ),
            tr("Wait until at least one has finished."),
        )
    _refuse_mixed(present)
    return Children(tuple(present), tuple(missing))


def _child(view: RunView, directory: RunDirectory, settings: Settings) -> Child | MissingChild:
    spec, result = view.record.spec, view.result
    why = _why_missing(view, directory)
    if why or spec is None or result is None:
        return _missing(view, why)
    try:
        base = resolve_base_model(spec.base_model, settings)
        check_adapter(directory.adapter_path, base, spec.task)
        file = scan(directory.adapter_path / WEIGHTS_FILE)
    except EngineError as error:
        return _missing(view, error.problem)
    return Child(
        id=view.id,
        spec=spec,
        adapter=directory.adapter_path,
        parameters=sum(math.prod(entry.shape) for entry in file.tensors.values()),
        bytes=file.size_bytes,
        result=result,
        signs=read_signs(read_curve(directory)),
    )


def _missing(view: RunView, why: str) -> MissingChild:
    spec, state = view.record.spec, str(view.record.state)
    if spec is None:
        return MissingChild(view.id, None, None, None, state, why)
    rate = spec.optimization.learning_rate
    return MissingChild(view.id, spec.method.rank, rate, spec.seed, state, why)


def _why_missing(view: RunView, directory: RunDirectory) -> str:
    """In words; empty for a run that can be judged."""
    state, error = view.record.state, view.result and view.result.error
    if view.record.spec is None:
        return view.problem or tr("Its spec cannot be read.")
    if view.result is not None and view.result.stopped_because:
        return view.result.stopped_because
    if state is RunState.PAUSED:
        return tr("It was paused before its end; resume it to have it judged.")
    if state is not RunState.FINISHED:
        return error.problem if error else tr("It is {state}.", state=state)
    if view.result is None:
        return view.problem or tr("It left no result.")
    method = view.record.spec.method
    kind = method.finetuning_type
    if not method.has_adapter:
        return tr("It trained by {method} and has no adapter.", method=kind)
    if not method.is_lora:
        return tr("It trained by {method}, which has no rank to judge.", method=kind)
    if not (directory.adapter_path / WEIGHTS_FILE).is_file():
        return tr("Its adapter is gone.")
    return ""


def _refuse_mixed(children: Sequence[Child]) -> None:
    problems = [
        FieldProblem(path, tr("differs: {values}", values=", ".join(sorted(values)[:4])))
        for path, values in (
            ("base_model", {one.spec.base_model for one in children}),
            ("task", {one.spec.task for one in children}),
            ("dataset", {one.spec.dataset.model_dump_json() for one in children}),
            ("max_length", {str(one.spec.optimization.max_length) for one in children}),
        )
        if len(values) > 1
    ]
    if problems:
        remedy = tr("Judge runs of one base model and one dataset.")
        raise InvalidInput(tr("The comparison"), problems, remedy)
