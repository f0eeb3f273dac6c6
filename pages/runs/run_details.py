"""What a run was made with, and what lies in its folder; all text is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel

from lora_engine.language import tr, translatable
from lora_engine.runs import RunFile, RunView
from lora_engine.spec import RunSpec
from pages.shared import layout
from pages.shared.live import Column, table_value

SECTION_NAMES = {
    "": translatable("Run"),
    "dataset": translatable("Data"),
    "method": translatable("Method"),
    "quantization": translatable("Quantization"),
    "objective": translatable("Objective"),
    "optimization": translatable("Training"),
    "report": translatable("Report"),
}
WHAT_FILES_ARE = {
    "adapter/": translatable("The trained adapter, as PEFT reads it."),
    "metrics.jsonl": translatable("One row for each logged step."),
    "precision.json": translatable("What the base is computed in."),
    "prediction.json": translatable("What was predicted before the start."),
    "result.json": translatable("How the run ended."),
    "samples.jsonl": translatable("Answers at each evaluation."),
    "classes.jsonl": translatable("Scores by class at each evaluation."),
    "updates.jsonl": translatable("Size and rank of the update at each evaluation."),
    "spec.json": translatable("What the run was asked to do."),
    "worker.log": translatable("What the worker said."),
    "model/": translatable("The whole trained model."),
}


def spec_html(view: RunView) -> str:
    """Every field that says something, section by section; those off their default are marked."""
    spec = view.record.spec
    if spec is None:
        words = tr("The spec of this run cannot be read: {problem}", problem=str(view.problem))
        return f'<p class="rs-none">{escape(words)}</p>'
    sections = {"": list(_fields(spec, ""))} | {
        name: list(_fields(section, name)) for name, section in _sections(spec)
    }
    boxes = [_section(name, rows) for name, rows in sections.items() if rows]
    note = tr("Values in bold differ from the default.")
    return f'<p class="rs-spec-note">{escape(note)}</p><div class="rs-spec">{"".join(boxes)}</div>'


def files_value(files: Sequence[RunFile]) -> str:
    """The files of a run as a live table."""
    columns = (
        Column(tr("File")),
        Column(tr("Size"), layout.byte_size, numeric=True),
        Column(tr("What it is")),
    )
    rows = [(file.name, file.bytes, _what(file.name)) for file in files]
    return table_value(columns, rows, empty=tr("The folder is empty."))


def folder_html(path: str) -> str:
    return f'<p class="rs-folder">{escape(tr("On the server in"))} <code>{escape(path)}</code></p>'


def _sections(spec: RunSpec) -> Iterator[tuple[str, BaseModel]]:
    for name in type(spec).model_fields:
        section = getattr(spec, name)
        if isinstance(section, BaseModel):
            yield name, section


def _fields(section: BaseModel, name: str) -> Iterator[tuple[str, str, bool]]:
    """Label, value in words, and whether it differs, of each field that is set."""
    for field, info in type(section).model_fields.items():
        value = getattr(section, field)
        is_name = (name, field) == ("", "name")  # stands over it all
        if is_name or isinstance(value, BaseModel) or value in (None, [], {}, ""):
            continue
        default = info.get_default(call_default_factory=True, validated_data={})
        yield tr(info.title or field), _words(value), value != default


def _section(name: str, rows: Sequence[tuple[str, str, bool]]) -> str:
    title = tr(SECTION_NAMES.get(name, name))
    cells = "".join(
        f"<div{' class=rs-differs' if differs else ''}><dt>{escape(label)}</dt>"
        f"<dd>{escape(value)}</dd></div>"
        for label, value, differs in rows
    )
    return f"<section><h4>{escape(title)}</h4><dl>{cells}</dl></section>"


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _what(name: str) -> str | None:
    if name.startswith("checkpoints/"):
        return tr("A checkpoint to go on from.")
    return tr(WHAT_FILES_ARE[name]) if name in WHAT_FILES_ARE else None
