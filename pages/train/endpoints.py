"""What the train page offers to gradio_client: /submit, /advise, /sweep.

Their keys are those of the commands of the same name with `--json`.
"""

from __future__ import annotations

from lora_engine.advisor import AdviceRequest, AdvisedTask, Goal
from lora_engine.calculator import preset_source, read_method
from lora_engine.engine import Engine
from lora_engine.spec import spec_from, sweep_over
from pages.shared.wiring import expose


def offer(engine: Engine) -> None:
    """Call it inside the page's Blocks."""

    def submit(spec: dict) -> dict:
        """Queue a run from a spec document; answers with its id and state."""
        run = engine.runs.submit(spec_from(spec))
        return {"id": run.id, "state": str(run.record.state)}

    def advise(
        task: str | None = None,
        rows: int | None = None,
        tokens: int | None = None,
        preset: str | None = None,
        target_modules: str = "all-linear",
        goal: str = "balanced",
        card_gib: float | None = None,
        spec: dict | None = None,
    ) -> dict:
        """A rank to start with, the range to try and the other knobs, each with its rule and
        source: for a spec document, whose data and base are read, or for a task, rows, tokens and
        a preset model."""
        asked_task: AdvisedTask | None = task  # type: ignore[assignment]  # refused by the engine
        asked_goal: Goal = goal  # type: ignore[assignment]
        if spec is not None:
            return engine.advisor.advise_for(
                spec_from(spec), task=asked_task, goal=asked_goal, card_gib=card_gib
            ).to_json()
        request = AdviceRequest(
            task=asked_task,
            rows=rows,
            tokens=tokens,
            model=preset_source(preset) if preset else None,
            target_modules=read_method(target_modules=target_modules).target_modules,
            card_gib=card_gib,
            goal=asked_goal,
        )
        return engine.advisor.advise(request).to_json()

    def sweep(
        spec: dict,
        ranks: list[int] | None = None,
        learning_rates: list[float] | None = None,
        seeds: list[int] | None = None,
        stop_worse: bool = False,
    ) -> dict:
        """Queue a run for each combination of the values, in one group."""
        grid = sweep_over(
            spec_from(spec), ranks or [], learning_rates or [], seeds or [], stop_worse=stop_worse
        )
        return engine.sweeps.submit(grid).to_json()

    for endpoint in (submit, advise, sweep):
        expose(endpoint, api_name=endpoint.__name__)
