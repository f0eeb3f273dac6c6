"""What the combine tab asks of the engine: the mixture of its fields, its works, and `/combine`.

Knows no component.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.adapter_operations import (
    CombineReport,
    Method,
    PredictedInterference,
    WeightedAdapter,
)
from lora_engine.adapters import AdapterSummary, name_from
from lora_engine.cancellation import StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum import ReportProgress
from pages.shared import layout
from pages.shared.adapter_choices import MAX_COMPARED, adapter_key
from pages.shared.background_work import Work

MOST_SOURCES = 4


@dataclass(frozen=True)
class Mixture:
    """Adapters with weights, and how they become one. sources: each by its key.

    rank: of every module at most; None keeps the sum of the ranks.
    """

    sources: tuple[WeightedAdapter, ...]
    method: Method
    density: float | None
    seed: int
    rank: int | None

    @property
    def keys(self) -> list[str]:
        return [str(one.path) for one in self.sources]

    @property
    def how(self) -> dict[str, Any]:
        """The engine's options."""
        return {
            "method": self.method,
            "density": self.density,
            "seed": self.seed,
            "rank": self.rank,
        }


def weighted(keys: Sequence[str], weights: Sequence[float | None]) -> tuple[WeightedAdapter, ...]:
    """Adapters with their weights. Raises EngineError for one alone, too many, an empty weight."""
    if not 2 <= len(keys) <= MOST_SOURCES:
        raise EngineError(
            tr(
                "The number of chosen adapters is {count}; 2 to {most} can be combined.",
                count=len(keys),
                most=MOST_SOURCES,
            ),
            tr("Choose others of the same base model beside the opened one."),
        )
    sources = []
    for key, weight in zip(keys, weights, strict=False):
        if weight is None:
            raise EngineError(
                tr("The weight of {name} is empty.", name=Path(key).name),
                tr("Give a number, such as 1."),
            )
        sources.append(WeightedAdapter(Path(key), float(weight)))
    return tuple(sources)


def mixture(
    sources: tuple[WeightedAdapter, ...],
    method: Method,
    density: float | None,
    seed: float | None,
    rank: float | None,
) -> Mixture:
    """What the fields ask for; the exact sum has no density, and rank 0 is none to reduce to.

    Raises EngineError for a rank or a seed that is no whole number.
    """
    for what, value in ((tr("rank"), rank), (tr("seed"), seed)):
        if value is not None and not isinstance(layout.whole(value), int):
            raise EngineError(
                tr("The {what} is {value}; whole numbers are possible.", what=what,
                   value=f"{value:g}"),
                tr("Give one."),
            )  # fmt: skip
    return Mixture(
        sources,
        method,
        density=None if method == "exact" else density,
        seed=int(seed or 0),
        rank=layout.whole(rank) or None,
    )


def other_choices(engine: Engine, opened: AdapterSummary) -> list[tuple[str, str]]:
    """Every other adapter of LoRA for a dropdown, those of the same base first.

    Where the base is another, the choice names it.
    """
    others = [one for one in engine.adapters.of_lora() if one.path != opened.path]
    others.sort(key=lambda one: one.base_model != opened.base_model)
    return [(_choice(one, opened), adapter_key(one)) for one in others]


def _choice(adapter: AdapterSummary, opened: AdapterSummary) -> str:
    other_base = (
        ""
        if adapter.base_model == opened.base_model
        else tr(", of {base}", base=adapter.base_model)
    )
    return f"{adapter.name} ({adapter.size}{other_base})"


def adapter_names(engine: Engine, keys: Sequence[str]) -> dict[str, str]:
    """What the page calls each adapter, by its key. Raises NotFound."""
    return {key: engine.adapters.get(key).name for key in keys}


def in_words(engine: Engine, sources: Sequence[WeightedAdapter]) -> str:
    """`pirate × 0.7 + json × 0.3`."""
    called = adapter_names(engine, [str(one.path) for one in sources])
    return " + ".join(f"{called[str(one.path)]} × {one.weight:g}" for one in sources)


def trial_name(engine: Engine, sources: Sequence[WeightedAdapter]) -> str:
    """What a trial's column is called: `pirate-0.7-json-0.3`."""
    return name_from(in_words(engine, sources).replace(" × ", "-").replace(" + ", "-"))


def beside(sources: Sequence[WeightedAdapter], made: Path) -> list[str]:
    """The columns of a comparison: as many of the heaviest sources as find room, and `made`."""
    heaviest = sorted(sources, key=lambda one: -abs(one.weight))[: MAX_COMPARED - 1]
    return [*(str(one.path) for one in sources if one in heaviest), str(made)]


def predicting(engine: Engine, sources: tuple[WeightedAdapter, ...]) -> Work[PredictedInterference]:
    """Work: whether the adapters will collide."""

    def predict(progress: ReportProgress, stop: StopSignal) -> PredictedInterference:
        return engine.adapter_operations.predicted_interference(
            sources, progress=progress, stop=stop
        )

    return predict


def trying(engine: Engine, asked: Mixture) -> Work[CombineReport]:
    """Work: the mixture as a trial."""
    name = trial_name(engine, asked.sources)

    def attempt(progress: ReportProgress, stop: StopSignal) -> CombineReport:
        return engine.adapter_operations.combine_trial(
            asked.sources, name, **asked.how, progress=progress, stop=stop
        )

    return attempt


def combining(engine: Engine, asked: Mixture, output: Path, overwrite: bool) -> Work[CombineReport]:
    """Work: the mixture written as an adapter."""

    def combine(progress: ReportProgress, stop: StopSignal) -> CombineReport:
        return engine.adapter_operations.combine(
            asked.sources, output, **asked.how, overwrite=overwrite, progress=progress, stop=stop
        )

    return combine


def combine_endpoint(engine: Engine) -> Callable[..., dict]:
    """The function behind `/combine`."""

    def combine(
        adapters: list[str],
        name: str,
        weights: list[float] | None = None,
        rank: int | None = None,
        method: Method = "exact",
        density: float | None = None,
        seed: int = 0,
        interference: bool = False,
        overwrite: bool = False,
    ) -> dict:
        """Write the sum of adapters with weights (1 where none are given) under a new name.

        The keys are those of `python -m lora_engine combine --json`.
        """
        given = [1.0] * len(adapters) if weights is None else weights
        if len(given) != len(adapters):
            raise EngineError(
                tr(
                    "{weights} weights are given for {adapters} adapters.",
                    weights=len(given),
                    adapters=len(adapters),
                ),
                tr("Give one for each adapter, in their order."),
            )
        sources = [
            WeightedAdapter(Path(key), weight) for key, weight in zip(adapters, given, strict=True)
        ]
        operations = engine.adapter_operations
        done = operations.combine(
            sources, operations.adapter_folder(name), rank=rank, method=method, density=density,
            seed=seed, overwrite=overwrite,
        ).to_json()  # fmt: skip
        if interference:
            done["interference"] = operations.predicted_interference(sources).to_json()
        return done

    return combine
