"""The command `preview`: rows as the model will see them, and how many are trained on."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.base_models import load_tokenizer, refuse_no_causal_model, resolve_base_model
from lora_engine.cli.options import add_commands, field_help, json_flag
from lora_engine.cli.output import print_json, print_table
from lora_engine.data.class_labels import FORMATS
from lora_engine.data.preview_examples import PreviewExample
from lora_engine.data.preview_rows import Preview
from lora_engine.data.preview_rows import preview as preview_rows
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.language import tr, tr_count
from lora_engine.spec import DatasetSpec, OptimizationSpec, RunSpec, read_spec, spec_from


def register(app: typer.Typer) -> None:
    add_commands(app, preview)


def preview(
    dataset: Annotated[str | None, typer.Argument(help=field_help(DatasetSpec, "source"))] = None,
    base: Annotated[
        str | None, typer.Option(help=tr("The base model whose tokenizer is used."))
    ] = None,
    n: Annotated[int, typer.Option(min=1, max=1000, help=tr("Rows to show."))] = 3,
    max_length: Annotated[
        int | None, typer.Option(min=8, help=field_help(OptimizationSpec, "max_length"))
    ] = None,
    reasoning: Annotated[
        str | None, typer.Option(help=field_help(DatasetSpec, "reasoning"))
    ] = None,
    turns: Annotated[str | None, typer.Option(help=field_help(DatasetSpec, "turns"))] = None,
    template: Annotated[str | None, typer.Option(help=field_help(DatasetSpec, "template"))] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help=tr(
                "Any field of the spec's dataset, such as split=test, eval_source=held.jsonl or "
                "filters.drop_duplicates=true; may be given several times."
            )
        ),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help=tr("Take dataset, base and lengths from this spec."))
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """The rows exactly as the model will see them, and which tokens carry the loss."""
    settings = load_settings()
    choices = {"source": dataset, "reasoning": reasoning, "turns": turns, "template": template}
    given = {name: value for name, value in choices.items() if value is not None}
    asked = _asked(spec, {**given, **_fields(field or [])})
    model = resolve_base_model(base or asked.base_model, settings)
    length = max_length or asked.optimization.max_length
    tokenizer = load_tokenizer(model)
    shown = preview_rows(asked.dataset, tokenizer, length, n, settings, model, seed=asked.seed)
    if shown.format not in FORMATS.values():  # rows to classify are for encoders
        refuse_no_causal_model(model)
    if json:
        print_json(asdict(shown))
    else:
        _print(shown)


def _asked(spec: Path | None, given: dict[str, Any]) -> RunSpec:
    """The run whose rows are shown. given: dotted fields of its dataset. Raises EngineError where
    no dataset is named."""
    document = {} if spec is None else read_spec(spec).model_dump(exclude_unset=True)
    if spec is None and "source" not in given and "mixture" not in given:
        raise EngineError(tr("No dataset is named."), tr("Give its name, or a spec with --spec."))
    for path, value in given.items():
        *sections, name = path.split(".")
        node = document.setdefault("dataset", {})
        for section in sections:
            if not isinstance(node.get(section), dict):
                node[section] = {}  # whatever stood there is no section; the spec says what is
            node = node[section]
        node[name] = value
    return spec_from(document)


def _fields(given: Sequence[str]) -> dict[str, Any]:
    """Field and value of each --field: JSON where it is, else a word."""
    found: dict[str, Any] = {}
    for one in given:
        path, sign, text = one.partition("=")
        if not sign or not path.strip(".") or ".." in path:
            raise EngineError(
                tr("--field got {one}; it takes a field and its value.", one=f"{one[:200]!r}"),
                tr("Write it as --field split=test."),
            )
        try:
            found[path] = json_module.loads(text)
        except (ValueError, RecursionError):
            found[path] = text
    return found


def _print(shown: Preview) -> None:
    counts = shown.counts
    typer.echo(
        tr(
            "{format}, {rows}: {training} to train on in an epoch, {evaluation} to evaluate",
            format=shown.format,
            rows=tr_count("{count} row", "{count} rows", shown.rows),
            training=counts.training,
            evaluation=counts.evaluation,
        )
    )
    if len(counts.sets) > 1:
        print_table(
            ("set", "share", "rows", "trained", "in an epoch", "evaluated"),
            (
                (one.source, f"{one.share:.3g}", one.rows, one.trained, one.epoch, one.evaluated)
                for one in counts.sets
            ),
        )
    for removed in shown.removed:
        typer.echo(tr("- filtered out: {rows} {what}", rows=removed.rows, what=removed.what))
    for warning in shown.warnings:
        typer.echo(f"! {warning}")
    for note in shown.notes:
        typer.echo(f"· {note}")
    for example in shown.examples:
        verdict = {True: tr(" (a good answer)"), False: tr(" (a bad answer)"), None: ""}
        _print_example(example, example.where + verdict[example.is_desirable])
        if example.rejected is not None:
            _print_example(example.rejected, tr("{where}, rejected", where=example.where))


def _print_example(example: PreviewExample, name: str) -> None:
    typer.echo(
        "\n"
        + tr(
            "{name}: {supervised} of {all} tokens supervised, truncated"
            if example.truncated
            else "{name}: {supervised} of {all} tokens supervised",
            name=name,
            supervised=example.supervised_tokens,
            all=example.total_tokens,
        )
        + f"\n{example.text}"
    )
