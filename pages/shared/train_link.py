"""What the train page's address says: a run to copy, and single fields that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.spec import RECIPES, RunSpec, recipe_spec, spec_from
from lora_engine.training import method_of_adapter
from pages import TRAIN
from pages.shared import layout

CARRIED = ("method", "quantization", "optimization")
SECTIONS = (*CARRIED, "objective", "dataset", "dataset.columns", "dataset.filters", "report")
MOST_CHARACTERS = 40_000  # of one field: the ranks of some 800 modules by name
PLAIN = ("name", "task", "seed", "quantization")  # fields whose path has no dot


def spec_in_address(engine: Engine, request: gr.Request) -> RunSpec:
    """`?from=RUN` copies a run's spec; the other names of the address change single fields.

    Any field can be named by its path, with a value in JSON: `&optimization.batch_size=4`. A
    section that may be null is named alone for that: `&quantization=null`. `?init_from=ADAPTER`
    goes on from an adapter, whose shape fills the method's fields.
    """
    copied = layout.state_of(request, "from")
    spec = engine.runs.get(copied).record.readable_spec() if copied else opening_spec()
    document = spec.model_dump(mode="json")
    if layout.state_of(request, "base_model"):
        document["base_model"] = layout.state_of(request, "base_model")
    if layout.state_of(request, "dataset"):
        document["dataset"]["source"] = layout.state_of(request, "dataset")
    if layout.state_of(request, "init_from"):
        named = layout.state_of(request, "init_from")
        method = method_of_adapter(named, document["task"], engine.settings)
        shape = method.model_dump(mode="json", exclude_unset=True)
        document["method"] |= {"init": "default", "finetuning_type": "lora", **shape}
    if layout.state_of(request, "rank").isdigit():
        document["method"]["rank"] = int(layout.state_of(request, "rank"))
    if layout.state_of(request, "alpha"):
        document["method"]["alpha"] = _number(layout.state_of(request, "alpha"))
    targets = layout.state_of(request, "target_modules")
    if targets:
        names = [name.strip() for name in targets.split(",")]
        document["method"]["target_modules"] = targets if names == ["all-linear"] else names
    for path in request.query_params:
        if "." in path or path in PLAIN:
            _put(document, path, _json_or_text(request.query_params[path][:MOST_CHARACTERS]))
    return spec_from(document)


def opening_spec() -> RunSpec:
    """What the page shows where the address says nothing."""
    return recipe_spec(next(iter(RECIPES)))


def address_of(spec: RunSpec) -> str:
    """The page with this base, method, quantization and steps filled in.

    Name, data, seed and the epochs, which suit the data, stay the page's own.
    """
    shown = opening_spec().model_dump(mode="json")
    wanted = spec.model_dump(mode="json")
    state = {"base_model": spec.base_model}
    for section in CARRIED:
        for name, value in (wanted[section] or {}).items():
            is_shown = (shown[section] or {}).get(name) == value
            if not is_shown and name != "epochs":
                state[f"{section}.{name}"] = json.dumps(value)
    return layout.link(TRAIN, **state)


def whole_address_of(spec: RunSpec) -> str:
    """The page with everything of a spec that the opening form has not."""
    shown = dict(_flat(opening_spec().model_dump(mode="json")))
    wanted = dict(_flat(spec.model_dump(mode="json")))
    state = {
        path: value if path == "base_model" else json.dumps(value)
        for path, value in wanted.items()
        if path not in shown or shown[path] != value
    }
    return layout.link(TRAIN, **state)


def copy_address_of(run_id: str, copied: RunSpec, wanted: RunSpec) -> str:
    """The page with a run's spec copied, and every field in which `wanted` differs from it."""
    there = dict(_flat(copied.model_dump(mode="json")))
    state = {
        path: value if path == "base_model" else json.dumps(value)
        for path, value in _flat(wanted.model_dump(mode="json"))
        if path not in there or there[path] != value
    }
    return layout.link(TRAIN, **{"from": run_id, **state})


def _flat(document: dict[str, Any], sections: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every field; an object that is a field's value stays whole."""
    for name, value in document.items():
        path = (*sections, name)
        if isinstance(value, dict) and ".".join(path) in SECTIONS:
            yield from _flat(value, path)
        else:
            yield ".".join(path), value


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path; what is no field is the spec's to refuse."""
    *sections, name = path.split(".")
    for section in sections:
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document = document[section]
    document[name] = value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(text: str) -> float | str:
    """The number in an address, or the text for the spec to refuse."""
    try:
        return float(text)
    except ValueError:
        return text
