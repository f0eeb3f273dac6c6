"""The list at the left: every run that is found, the one that is shown, and those drawn with it.

Its value is one JSON document, drawn by `static/list.js`. A click or an arrow key chooses a run, a
tick draws one more; both come back in the value, which a browser may have changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from lora_engine.access import person_now
from lora_engine.language import tr, tr_count
from lora_engine.runs import RunState, RunView, state_name
from pages import RUNS
from pages.runs.curves import MOST_RUNS
from pages.shared import layout
from pages.shared.static_files import call_js

MOST_ITEMS = 200
MOVING = (RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING)


def lay_out() -> gr.HTML:
    """The list. `.input` comes when a run was chosen or ticked; see `chosen_in`, `ticked_in`."""
    return gr.HTML(
        html_template='<div class="rs-runs"></div>',
        js_on_load=call_js("runs/list.js", "runList"),
        elem_id="runs",
        apply_default_css=False,
    )


def value(views: Sequence[RunView], chosen: str, ticked: Sequence[str]) -> str:
    """The list's value. views: the runs that are found; chosen: the id of the one shown."""
    left = len(views) - MOST_ITEMS
    document = {
        "label": tr("Runs"),
        "items": [_item(view) for view in views[:MOST_ITEMS]],
        "chosen": chosen,
        "ticked": list(ticked),
        "most": MOST_RUNS - 1,
        "foot": _foot(left),
        "empty": tr("No run matches."),
    }
    return json.dumps(document)


def chosen_in(given: str) -> str:
    """The id of the chosen run in what a browser says is the list's value; untrusted."""
    chosen = _read(given).get("chosen")
    return chosen if isinstance(chosen, str) else ""


def ticked_in(given: str) -> list[str]:
    """The ids of the ticked runs, the same way."""
    ticked = _read(given).get("ticked")
    return [one for one in ticked if isinstance(one, str)] if isinstance(ticked, list) else []


def _item(view: RunView) -> dict[str, Any]:
    record, newest = view.record, view.newest
    share = newest.step / newest.total_steps if newest and newest.total_steps else 0.0
    return {
        "id": view.id,
        "name": record.name,
        "address": layout.link(RUNS, run=view.id),
        "draw": tr("Draw {name}", name=record.name),
        "state": str(record.state),
        "stateName": state_name(record.state),
        "detail": _detail(view),
        "share": share if record.state in MOVING else None,
    }


def _detail(view: RunView) -> str:
    """How far it is, or how it ended: the newest losses and the rank."""
    parts = []
    if view.newest is not None:
        step, total = view.newest.step, view.newest.total_steps
        is_over = view.record.state not in MOVING
        parts.append(
            tr("loss {loss}", loss=layout.number(view.newest.loss))
            if is_over
            else tr("step {step} of {total}", step=f"{step:,}", total=f"{total:,}")
        )
    if view.result is not None and view.result.eval_loss is not None:
        parts[-1:] = [tr("held-out loss {loss}", loss=layout.number(view.result.eval_loss))]
    spec = view.record.spec
    if spec is not None and spec.method.is_lora:
        parts.append(tr("rank {rank}", rank=spec.method.rank))
    if view.record.owner != person_now().name:
        parts.append(tr("of {owner}", owner=view.record.owner))
    return " · ".join(parts)


def _foot(left: int) -> str:
    if left <= 0:
        return tr("Tick up to {count} to draw them with the one that is shown.",
                  count=MOST_RUNS - 1)  # fmt: skip
    return tr_count(
        "{count} older run is not listed. Find it by its name.",
        "{count} older runs are not listed. Find them by name.",
        left,
    )


def _read(given: str) -> dict[str, Any]:
    try:
        document = json.loads(given)
    except (ValueError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}
