"""What stands on a page where no adapter is: one is on its way, or how to get one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.language import tr
from lora_engine.runs import OVER
from pages import RUNS, TRAIN
from pages.shared import layout

if TYPE_CHECKING:
    from lora_engine.engine import Engine


def no_adapter_html(engine: Engine, how: str) -> str:
    """how: a sentence or two on getting an adapter, said while no run is on its way."""
    records = (run.record for run in engine.runs.list())
    coming = [r for r in records if r.state not in OVER and r.spec and r.spec.method.has_adapter]
    if not coming:
        return layout.empty_state_html(
            tr("No adapter yet"), how, tr("Train the example"), layout.link(TRAIN)
        )
    run = coming[0]
    return layout.empty_state_html(
        tr("No adapter yet"),
        tr(
            "“{run}” is {state}; its adapter will be here when it has finished.",
            run=run.name,
            state=tr(run.state),
        ),
        tr("See the run"),
        layout.link(RUNS, run=run.id),
    )
