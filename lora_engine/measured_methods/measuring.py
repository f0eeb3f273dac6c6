"""Measuring the answers of a group's runs, one after the other, each on the base it trained on.

Adapters are measured on the base that Compare keeps in memory, those of QLoRA on one that is
quantized as theirs was, whole models by themselves. Knows nothing of where the figures are kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_engine.base_models import BaseModel as BaseModelFolder
from lora_engine.base_models import resolve_base_model
from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.service import Comparisons
from lora_engine.devices import pick_device
from lora_engine.errors import EngineError
from lora_engine.measured_methods.latency import (
    ROUNDS,
    AnswerLatency,
    measured_beside,
    milliseconds_a_token,
)
from lora_engine.runs import RunView, SweepView
from lora_engine.settings import Settings

Report = Callable[[str], None]


class Latencies(BaseModel):
    """`latencies.json` of a group. runs, problems: by run; a problem says why one has none."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    device: str
    base_ms_per_token: float
    runs: dict[str, AnswerLatency]
    problems: dict[str, str] = {}


class Measuring:
    """Measures a group's answers, on one base after the other; at most two are in memory."""

    def __init__(
        self,
        settings: Settings,
        comparisons: Comparisons,
        view: SweepView,
        told: Report,
        stop: StopSignal,
    ) -> None:
        assert view.spec is not None, "only a group whose spec is readable is measured"
        self._settings, self._comparisons = settings, comparisons
        self._base = resolve_base_model(view.spec.run.base_model, settings)
        self._runs = [run for run in view.runs if run.result is not None and run.result.saved_as]
        self._told, self._stop = told, stop

    def run(self) -> Latencies:
        base = self._comparisons.model_of(self._base, {}).shared
        rounds = [milliseconds_a_token(base) for _ in range(ROUNDS + 1)][1:]
        found, problems = {}, {}
        for run in self._runs:
            if self._stop.is_set():
                break
            self._told(run.record.name)
            try:
                latency, of_base = measured_beside(base, *self._result_of(run, base))
            except EngineError as error:
                problems[run.id] = f"{error.problem} {error.remedy}"
                continue
            found[run.id] = latency
            rounds += of_base
        return Latencies(
            device=pick_device(self._settings),
            base_ms_per_token=statistics.median(rounds),
            runs=found,
            problems=problems,
        )

    def _result_of(self, run: RunView, base: SharedBase) -> tuple[SharedBase, Path | None]:
        """What a run left: a model in memory, and the adapter to use on it or none."""
        spec, folder = run.record.readable_spec(), self._settings.runs_dir / run.id
        if run.result is not None and run.result.saved_as == "model":
            whole = BaseModelFolder(run.id, folder / "model")
            return SharedBase.load(whole, self._settings), None
        if spec.quantization is None:
            return base, folder / "adapter"
        quantized = SharedBase.load(self._base, self._settings, spec.quantization)
        return quantized, folder / "adapter"
