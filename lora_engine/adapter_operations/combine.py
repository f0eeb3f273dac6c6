"""Several adapters of one base as one: their updates summed with weights, then reduced to a rank.

    delta_weight = sum of weight_i * scaling_i * B_i A_i = [w1 s1 B1 | w2 s2 B2 | ...] [A1; A2; ...]

Exact for different ranks, alphas, rsLoRA and targets; written with scaling 1, in float32 or wider,
because a weighted 16-bit number is none of 16 bits. The reduction keeps the leading directions of
each module, error = sqrt(sum of dropped sigma^2). TIES and DARE give another update than the sum;
how far it is from the sum is said. One module in memory at a time; no model is loaded.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.adapter_operations.combine_factors import (
    Method,
    WeightedFactors,
    merged_by,
    weighted_sum,
)
from lora_engine.adapter_operations.combine_sources import (
    CombineSource,
    WeightedAdapter,
    base_notes,
    check_method,
    combined_config,
    common_provenance,
    copied_tensors,
    holders_of,
    open_sources,
)
from lora_engine.adapter_operations.resize import rounding_error, truncated
from lora_engine.adapter_operations.source_adapter import (
    write_factors,
    written_config,
    written_provenance,
)
from lora_engine.adapter_operations.written_adapter import (
    AdapterWriter,
    ModuleScale,
    check_rank,
    item_bytes,
    scale_fields,
    written_adapter,
)
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.adapters.weights_keys import factor_keys
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import Factors, ReportProgress, WorkMonitor, factor_spectrum, stack
from lora_engine.spectrum.low_rank_factors import factor_values, norm


@dataclass(frozen=True)
class CombinedModule:
    """One module of the result. Errors are Frobenius norms.

    sources: which of the adapters have it. energy: kept share of the sum of sigma^2. error: from
    what the method gives to what is written, made of truncation_error and rounding_error.
    distance_from_sum: from the weighted sum of the updates to what the method gives; 0 if exact.
    """

    name: str
    sources: tuple[str, ...]
    rank: int
    energy: float
    error: float
    truncation_error: float
    rounding_error: float
    distance_from_sum: float


@dataclass(frozen=True)
class CombineReport:
    """A written adapter. energy, errors and distance: of all modules together. rank: the largest.

    bytes: of the weights file.
    """

    path: Path
    modules: tuple[CombinedModule, ...]
    method: Method
    rank: int
    energy: float
    error: float
    distance_from_sum: float
    bytes: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class _Plan:
    """How modules are combined."""

    method: Method
    density: float
    seed: int
    rank: int | None
    lora_bias: bool


def combine(
    sources: Sequence[WeightedAdapter],
    output: Path,
    *,
    rank: int | None = None,
    method: Method = "exact",
    density: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> CombineReport:
    """Write the weighted sum of adapters into `output`, or what TIES or DARE make of them.

    rank: of every module of the result at most; None keeps the sum of the ranks. density: the share
    of numbers that TIES and DARE keep. seed: of DARE's choice.
    Raises EngineError for another base, DoRA, modules saved whole that conflict, what TIES and DARE
    cannot take, a value that is not finite; Conflict for an output that exists; Stopped.
    """
    if rank is not None:
        check_rank(rank)
    if seed < 0:
        raise EngineError(
            tr("The seed is {seed}; 0 or more is possible.", seed=seed), tr("Give another seed.")
        )
    opened = open_sources(sources)
    check_method(method, density, opened)
    copied = copied_tensors(opened)
    fields = combined_config(opened)
    plan = _Plan(method, density or 1.0, seed, rank, bool(fields["lora_bias"]))
    monitor = WorkMonitor(progress, stop)
    sizes = {holder: item_bytes(_dtype(opened, holder)) for holder in holders_of(opened)}
    sizes |= {key: item_bytes(one.file.entry(one.key).dtype) for key, one in copied.items()}
    done: list[tuple[str, CombinedModule, float]] = []
    with written_adapter(Path(output), _keys(opened, copied), overwrite) as writer:
        for number, name in enumerate(sorted(sizes, key=lambda name: -sizes[name])):
            monitor.step(number / len(sizes), tr("combining {module}", module=name))
            if name in copied:
                writer.copy(copied[name].file, copied[name].key, name)
            else:
                done.append((name, *_combine_module(writer, opened, name, plan)))
        scales = {module.name: ModuleScale(module.rank, 1.0) for _, module, _ in done}
        report = _report(Path(output), done, plan, base_notes(opened))
        writer.finish(
            written_config(opened[0].adapter, {**fields, **scale_fields(scales, use_rslora=False)}),
            written_provenance(
                common_provenance(opened), _operation(opened, plan, density, report)
            ),
            companions=opened[0].adapter.path,
        )
        new_bytes = (writer.folder / WEIGHTS_FILE).stat().st_size
    return CombineReport(**{**vars(report), "bytes": new_bytes})


def _combine_module(
    writer: AdapterWriter, sources: Sequence[CombineSource], holder: str, plan: _Plan
) -> tuple[CombinedModule, float]:
    """Write one module; what became of it, and its ||delta_weight||_F^2."""
    having = [one for one in sources if one.has(holder)]
    first = having[0].adapter
    dtype = _dtype(sources, holder)
    by_source = [_weighted(one, holder) for one in having]
    per_expert = list(zip(*by_source, strict=True))
    name = first.module_name(holder)
    sums = [weighted_sum(parts) for parts in per_expert]
    merged = sums
    if plan.method != "exact":
        random = np.random.default_rng([plan.seed, zlib.crc32(name.encode())])
        merged = [merged_by(plan.method, parts, plan.density, random) for parts in per_expert]
    exact, dropped, total = _reduced(merged, plan.rank)
    stored = write_factors(writer, first.entries(holder), exact, dtype)
    if plan.lora_bias and "embedding_B" not in first.stored.keys.factors[holder]:
        _write_bias(writer, having, holder, dtype)
    rounding = math.hypot(*(rounding_error(*pair) for pair in zip(exact, stored, strict=True)))
    distance = math.hypot(
        *(_distance(*pair) for pair in zip(merged, sums, strict=True) if merged is not sums)
    )
    module = CombinedModule(
        name=name,
        sources=tuple(one.name for one in having),
        rank=exact[0].right.shape[0],
        energy=1.0 - dropped / total if total else 1.0,
        error=math.sqrt(dropped + rounding**2),
        truncation_error=math.sqrt(dropped),
        rounding_error=rounding,
        distance_from_sum=distance,
    )
    return module, total


def _reduced(parts: list[Factors], rank: int | None) -> tuple[list[Factors], float, float]:
    """The factors at no more than `rank`, the sum of dropped sigma^2, and that of all."""
    if rank is None or rank >= parts[0].right.shape[0]:
        return parts, 0.0, math.fsum(norm(part) ** 2 for part in parts)
    spectra = [factor_spectrum(part) for part in parts]
    squared = [np.square(one.singular_values) for one in spectra]
    dropped = math.fsum(float(one[rank:].sum()) for one in squared)
    total = math.fsum(float(one.sum()) for one in squared)
    return truncated(spectra, rank, 1.0), dropped, total


def _weighted(source: CombineSource, holder: str) -> list[WeightedFactors]:
    """The factors as stored, of each expert."""
    return [
        WeightedFactors(Factors(module.lora_B, module.lora_A), source.weight * module.scaling)
        for module in source.adapter.stored.read(holder)
    ]


def _distance(a: Factors, b: Factors) -> float:
    return float(np.linalg.norm(factor_values(stack([(a, 1.0), (b, -1.0)]))))


def _write_bias(
    writer: AdapterWriter, having: Sequence[CombineSource], holder: str, dtype: str
) -> None:
    """PEFT adds scaling * (B A x + bias), so biases sum as the updates do; none counts as 0."""
    total = np.zeros(having[0].adapter.entries(holder)[1].shape[0])
    for one in having:
        module = one.adapter.stored.read(holder)[0]
        if module.bias is not None:
            total += one.weight * module.scaling * module.bias.astype(np.float64)
    writer.add(_bias_key(having[0], holder), total, dtype)


def _bias_key(source: CombineSource, holder: str) -> str:
    _, key_b = factor_keys(source.adapter.stored.keys.factors[holder])
    return key_b.removesuffix("weight") + "bias"


def _keys(sources: Sequence[CombineSource], copied: Iterable[str]) -> list[str]:
    """The keys of all tensors that may be written."""
    keys = [*copied]
    for holder in holders_of(sources):
        one = next(source for source in sources if source.has(holder))
        keys += [*factor_keys(one.adapter.stored.keys.factors[holder]), _bias_key(one, holder)]
    return keys


def _dtype(sources: Sequence[CombineSource], holder: str) -> str:
    wide = any(one.has(holder) and one.adapter.dtype(holder) == "F64" for one in sources)
    return "F64" if wide else "F32"


def _report(
    output: Path,
    done: Sequence[tuple[str, CombinedModule, float]],
    plan: _Plan,
    notes: tuple[str, ...],
) -> CombineReport:
    modules = tuple(module for _, module, _ in done)
    total = math.fsum(norm_squared for _, _, norm_squared in done)
    dropped = math.fsum(module.truncation_error**2 for module in modules)
    return CombineReport(
        path=output,
        modules=modules,
        method=plan.method,
        rank=max(module.rank for module in modules),
        energy=1.0 - dropped / total if total else 1.0,
        error=math.sqrt(math.fsum(module.error**2 for module in modules)),
        distance_from_sum=math.sqrt(math.fsum(one.distance_from_sum**2 for one in modules)),
        bytes=0,
        notes=notes,
    )


def _operation(
    sources: Sequence[CombineSource], plan: _Plan, density: float | None, report: CombineReport
) -> dict[str, Any]:
    chance = {"seed": plan.seed} if plan.method.startswith("dare") else {}
    return {
        "kind": "combine",
        "sources": [{**one.adapter.identity(), "weight": one.weight} for one in sources],
        "method": plan.method,
        "rank": plan.rank,
        **({} if density is None else {"density": density}),
        **chance,
        "error": report.error,
        "distance_from_sum": report.distance_from_sum,
    }
