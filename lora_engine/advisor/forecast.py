"""What a run will take, before it starts: rows, steps, memory and time, by every method.

Rows and steps follow from the spec. Memory is the calculator's answer with the margins of earlier
runs, as the worker predicts it. Time is arithmetic divided by a speed: that of earlier runs on the
same base in as many bits at the same place, else that of this machine's matrix products, where it
is the place. What cannot be told is None, with why.
Nothing is downloaded for a forecast.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_engine.advisor.earlier_runs import Earlier, MeasuredRun
from lora_engine.advisor.forecast_place import ForecastPlace, place_of
from lora_engine.advisor.forecast_rows import Rows, passed, plan_of, repeated, rows_of
from lora_engine.advisor.sampled_lengths import SampledLengths
from lora_engine.base_models import BaseModel, resolve_base_model, spec_on_base
from lora_engine.calculator import estimate_work, make_it_fit, read_profile, with_changes
from lora_engine.calculator.memory_request import GIB, MemoryRequest
from lora_engine.calculator.model_profile import trained_parameters
from lora_engine.calculator.several_devices import tokens_of_device
from lora_engine.calculator.speed_probe import SHARE_REACHED, matmul_flops_per_second
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import WAYS, QuantizationSpec, RunSpec, way_of
from lora_engine.spec.resources import LauncherName
from lora_engine.training.compatibility import (
    WHOLE_BATCHES,
    allows_streaming,
    compatibility_problems,
)
from lora_engine.training.conflicts import STREAM_BASE
from lora_engine.training.memory.prediction import heaviest_batch, predict, request_of
from lora_engine.training.plan import Plan
from lora_engine.training.starting_adapter import with_adapter_shape

METHODS: tuple[str, ...] = (*WAYS, "galore")
REFERENCE_PASS = 1 / 3  # of a step's work: a forward pass without a backward one
# What one weight in 4 bits costs each time it is made a number again, in operations of the step:
# measured on a CPU (docs/training_speed.md, "A base in 4 bits"). No GPU was measured.
DEQUANTIZING = 100.0
REFUSING = ("method.finetuning_type", "quantization", "quantization.bits", "objective.kind")


@dataclass(frozen=True)
class MethodForecast:
    """One method on this base and data. why: what is not known or not possible, in words.

    memory_gib: at the peak, the worker's own memory included. seconds: of training, without
    loading. trained: how many numbers train.
    """

    memory_gib: float | None = None
    seconds: float | None = None
    trained: int | None = None
    fits: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class RunForecast:
    """A run, and the same run by every method of METHODS.

    name: its own method. rows: trained on in an epoch. place: where, as `spec.launcher` has it.
    device_gib: all memory of the device, on a cluster what the run asks for; None where nobody here
    knows. measured_on: how many earlier runs told the speed; 0 where matrix products did, and where
    nothing did. changes: what makes it fit, in words, where it does not.
    """

    name: str
    rows: int
    evaluated: int
    steps: int
    tokens: int | None
    place: LauncherName
    device: str
    device_gib: float | None
    measured_on: int
    methods: Mapping[str, MethodForecast]
    changes: tuple[str, ...] = ()

    @property
    def chosen(self) -> MethodForecast:
        return self.methods[self.name]


def forecast(
    spec: RunSpec, settings: Settings, earlier: Earlier, known: SampledLengths
) -> RunForecast:
    """What `spec` will take. Raises EngineError where its data or its base cannot be read."""
    base = resolve_base_model(spec.base_model, settings)
    rows = rows_of(spec, base, settings, known)
    place = place_of(spec, settings)
    plan = plan_of(spec, rows)
    asking = _Asking(base, settings, earlier, rows, plan, place)
    name = method_name(spec)
    methods = {
        one: asking.of_method(spec if one == name else by_method(spec, one)) for one in METHODS
    }
    mean = None if rows.lengths is None else float(rows.lengths.mean())
    return RunForecast(
        name=name,
        rows=rows.training,
        evaluated=rows.evaluated,
        steps=plan.total_steps,
        tokens=None if mean is None else round(mean * passed(plan)),
        place=place.name,
        device=place.device,
        device_gib=None if place.memory_bytes is None else place.memory_bytes / GIB,
        measured_on=len(asking.told_by(spec)),
        methods=methods,
        changes=asking.changes(spec) if methods[name].fits is False else (),
    )


def expected_bytes(
    spec: RunSpec, settings: Settings, earlier: Earlier, known: SampledLengths
) -> int | None:
    """The memory that a run should need at its peak, the worker's own included.

    None where it cannot be told before. Raises as `forecast`.
    """
    base = resolve_base_model(spec.base_model, settings)
    if base.path is None or spec.objective.kind == "grpo":
        return None
    rows = rows_of(spec, base, settings, known)
    if rows.lengths is None:
        return None
    plan = plan_of(spec, rows)
    asking = _Asking(base, settings, earlier, rows, plan, place_of(spec, settings))
    return asking.peak_bytes(spec, base.path)


def method_name(spec: RunSpec) -> str:
    """Which of METHODS a spec is."""
    return way_of(spec) or "galore"


def by_method(spec: RunSpec, name: str) -> RunSpec:
    """The spec by another method, all else as it is."""
    kind = "lora" if name in ("lora", "qlora", "dora") else name
    method = spec.method.model_copy(update={"finetuning_type": kind, "use_dora": name == "dora"})
    quantization = (spec.quantization or QuantizationSpec()) if name == "qlora" else None
    return spec.model_copy(update={"method": method, "quantization": quantization})


@dataclass(frozen=True)
class _Asking:
    """What is the same for every method."""

    base: BaseModel
    settings: Settings
    earlier: Earlier
    rows: Rows
    plan: Plan
    place: ForecastPlace

    def of_method(self, spec: RunSpec) -> MethodForecast:
        problems = compatibility_problems(spec, self.place.machine)
        refused = [one for one in problems if one.path in REFUSING]
        if refused:
            return MethodForecast(why=refused[0].message)
        if self.base.path is None:
            return MethodForecast(
                seconds=self._seconds_by_rows(spec),
                why=tr("The base is on the hub; its size is known once it is here."),
            )
        if self.rows.lengths is None:
            return MethodForecast(
                seconds=self._seconds_by_rows(spec),
                why=tr("Memory is predicted for models that write text."),
            )
        try:
            return self._counted(spec, self.base.path)
        except EngineError as error:
            return MethodForecast(why=error.problem)

    def _counted(self, spec: RunSpec, folder: Path) -> MethodForecast:
        request = self._request(spec, folder)
        profile = read_profile(request.source, request.method)
        assert self.rows.lengths is not None, "asked only where rows have lengths"
        tokens = float(self.rows.lengths.mean()) * passed(self.plan)
        trained = trained_parameters(profile, request)
        if spec.objective.kind == "grpo":
            return MethodForecast(
                seconds=self._seconds_by_rows(spec),
                trained=trained,
                why=tr("How long the sampled answers get is not known before."),
            )
        peak = self._peak_bytes(request)
        return MethodForecast(
            memory_gib=peak / GIB,
            seconds=self._seconds(spec, request, tokens),
            trained=trained,
            fits=None if self.place.memory_bytes is None else peak <= self.place.memory_bytes,
        )

    def peak_bytes(self, spec: RunSpec, folder: Path) -> int:
        """Raises as `forecast`."""
        return self._peak_bytes(self._request(spec, folder))

    def changes(self, spec: RunSpec) -> tuple[str, ...]:
        """The least harmful changes after which it fits; none where nothing helps."""
        most = self.place.memory_bytes
        assert self.base.path is not None, "only what was counted is known not to fit"
        assert most is not None, "nothing is known not to fit a memory that is not known"
        request = self._request(spec, self.base.path)
        batch = min(spec.optimization.batch_size, request.tokens)
        length = -(-request.workload.seq_length // batch)
        shaped = {"workload.batch_size": batch, "workload.seq_length": length}
        room = (most - self.earlier.worker_bytes(self.place.device)) / GIB
        found = make_it_fit(with_changes(request, shaped), max(0.001, room))
        paths = {path for one in found.changes for path in one.fields}
        is_refused = STREAM_BASE in paths and not allows_streaming(spec)
        return tuple(one.what for one in found.changes) if found.fits and not is_refused else ()

    def _request(self, spec: RunSpec, folder: Path) -> MemoryRequest:
        """As the worker asks (`training.preparation.write_memory_prediction`)."""
        spec = spec_on_base(with_adapter_shape(spec, self.base, self.settings), self.base)
        assert self.rows.lengths is not None, "asked only where rows have lengths"
        added = spec.method.added_tokens
        lengths = self.rows.lengths + added
        if self.plan.fixed_batches is not None:
            tokens = self.plan.fixed_batches.heaviest(repeated(lengths, self.rows.training))
        elif added:
            tokens = self.plan.batch_size * int(lengths.max())
        else:
            tokens = heaviest_batch(lengths, self.plan.batch_size, self.plan.total_steps)
        if spec.objective.kind not in WHOLE_BATCHES:
            longest, devices = int(lengths.max()), spec.optimization.devices
            tokens = tokens_of_device(tokens, longest, devices)
        device, precision = self.place.device, self.place.precision(spec, self.base)
        return request_of(spec, folder, device, precision, tokens, self.rows.supervised)

    def _peak_bytes(self, request: MemoryRequest) -> int:
        device = self.place.device
        margins = self.earlier.margins(device)
        return predict(request, self.earlier.worker_bytes(device), margins).peak_bytes

    def _flops_a_token(self, spec: RunSpec, request: MemoryRequest) -> float:
        """Of a row of the mean length; the request's own row is a whole batch."""
        assert self.rows.lengths is not None, "asked only where rows have lengths"
        row = {"seq_length": max(1, round(float(self.rows.lengths.mean())))}
        of_row = replace(request, workload=request.workload.model_copy(update=row))
        profile = read_profile(request.source, request.method)
        return estimate_work(profile, of_row, 1).flops_per_token * _passes(spec)

    def _seconds(self, spec: RunSpec, request: MemoryRequest, tokens: float) -> float | None:
        """None where nobody has measured what a base in so few bits costs, or how fast it is
        there."""
        flops = self._flops_a_token(spec, request) * tokens
        waits = spec.optimization.stream_base or spec.optimization.offload_activations
        if waits and not self._alike(spec):
            return None  # the disk decides, or the way to the host
        if request.quantization is not None and not self._alike(spec):
            if not self._is_dequantizing_known(request.quantization):
                return None
            flops += self._dequantizing(spec, request)
        reached = self._reached(self.told_by(spec))
        if reached is None and self.place.is_here:
            reached = SHARE_REACHED * matmul_flops_per_second(self.place.device)
        return None if reached is None else flops / reached

    def _is_dequantizing_known(self, quantization: QuantizationSpec) -> bool:
        return self.place.device == "cpu" and quantization.bits == 4

    def _dequantizing(self, spec: RunSpec, request: MemoryRequest) -> float:
        """Operations that making the base's weights numbers again takes, once a pass."""
        optimization = spec.optimization
        passes = 3 if request.recomputes else 2
        batches = self.plan.total_steps * optimization.gradient_accumulation
        shape = read_profile(request.source, request.method).shape
        return DEQUANTIZING * passes * batches * shape.quantizable_parameters

    def told_by(self, spec: RunSpec) -> list[MeasuredRun]:
        """Earlier runs that tell the speed: those on the base in as many bits, else unquantized."""
        return self._alike(spec) or self._alike(spec.model_copy(update={"quantization": None}))

    def _alike(self, spec: RunSpec) -> list[MeasuredRun]:
        return [one for one in self.earlier.like(spec) if _way(one.spec) == _way(spec)]

    def _reached(self, runs: Sequence[MeasuredRun]) -> float | None:
        """Operations a second, the median of the runs; None without any."""
        reached = []
        for run in runs:
            if run.spec.method.added_tokens or self.base.path is None:
                continue
            request = self._request(run.spec, self.base.path)
            reached.append(self._flops_a_token(run.spec, request) * run.tokens_per_s)
        return statistics.median(reached) if reached else None

    def _seconds_by_rows(self, spec: RunSpec) -> float | None:
        """From earlier runs alone: for what has no count of tokens."""
        name = method_name(spec)
        alike = [one for one in self.earlier.like(spec) if method_name(one.spec) == name]
        if not alike:
            return None
        return statistics.median(one.seconds_a_row for one in alike) * passed(self.plan)


def _way(spec: RunSpec) -> tuple[int | None, bool, bool]:
    """How the base and the activations are held: its bits, is it streamed, are they on the host."""
    bits = None if spec.quantization is None else spec.quantization.bits
    return bits, spec.optimization.stream_base, spec.optimization.offload_activations


def _passes(spec: RunSpec) -> float:
    return 1 + REFERENCE_PASS if spec.objective.has_reference else 1.0
