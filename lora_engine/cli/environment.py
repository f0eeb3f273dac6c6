"""Commands that show what this machine has: doctor, models, datasets, preview."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lora_engine.base_models import (
    list_base_models,
    load_tokenizer,
    refuse_no_causal_model,
    resolve_base_model,
)
from lora_engine.cli import output
from lora_engine.cli.output import JsonFlag, YesFlag, field_help, print_json, print_table
from lora_engine.data import delete_upload, list_datasets
from lora_engine.data.class_labels import FORMATS
from lora_engine.data.preview_rows import preview as preview_rows
from lora_engine.doctor import run_checks
from lora_engine.settings import load_settings
from lora_engine.spec import DatasetSpec, OptimizationSpec, spec_from


def register(app: typer.Typer) -> None:
    for command in (doctor, models, datasets, delete_dataset, preview):
        app.command()(command)


def doctor(json: JsonFlag = False) -> None:
    """Versions, devices, settings, and what works on this machine."""
    checks = run_checks(load_settings())
    if json:
        print_json({"checks": [asdict(check) for check in checks]})
        return
    print_table(
        ("", "check", "detail"),
        (("ok" if check.ok else "no", check.name, check.detail) for check in checks),
    )


def models(json: JsonFlag = False) -> None:
    """The base models known here."""
    found = list_base_models(load_settings())
    if json:
        print_json([asdict(model) for model in found])
        return
    print_table(
        ("name", "architecture", "path"),
        ((model.name, model.architecture, model.path) for model in found),
    )


def datasets(json: JsonFlag = False) -> None:
    """The datasets known here: the bundled ones and the uploads."""
    found = list_datasets(load_settings())
    if json:
        print_json([{**asdict(dataset), "path": str(dataset.path)} for dataset in found])
        return
    print_table(
        ("name", "format", "rows", "description"),
        ((item.name, item.format, item.rows, item.description) for item in found),
    )


def delete_dataset(
    name: Annotated[str, typer.Argument(help="The uploaded dataset, as `datasets` lists it.")],
    yes: YesFlag = False,
) -> None:
    """Delete an uploaded dataset. Runs that were trained on it keep what they made."""
    output.confirm_deletion(name, yes)
    delete_upload(name, load_settings())
    typer.echo(f"{name}  deleted")


def preview(
    dataset: Annotated[str, typer.Argument(help=field_help(DatasetSpec, "source"))],
    base: Annotated[str, typer.Option(help="The base model whose tokenizer is used.")] = "starter",
    n: Annotated[int, typer.Option(min=1, max=1000, help="Rows to show.")] = 3,
    max_length: Annotated[
        int, typer.Option(min=8, help=field_help(OptimizationSpec, "max_length"))
    ] = OptimizationSpec().max_length,
    reasoning: Annotated[
        str, typer.Option(help=field_help(DatasetSpec, "reasoning"))
    ] = DatasetSpec().reasoning,
    turns: Annotated[
        str, typer.Option(help=field_help(DatasetSpec, "turns"))
    ] = DatasetSpec().turns,
    template: Annotated[
        str, typer.Option(help=field_help(DatasetSpec, "template"))
    ] = DatasetSpec().template,
    json: JsonFlag = False,
) -> None:
    """The rows exactly as the model will see them, and which tokens carry the loss."""
    settings = load_settings()
    model = resolve_base_model(base, settings)
    tokenizer = load_tokenizer(model)
    choices = {"reasoning": reasoning, "turns": turns, "template": template}
    spec = spec_from({"dataset": {"source": dataset, **choices}}).dataset
    shown = preview_rows(spec, tokenizer, max_length, n, settings, model)
    if shown.format not in FORMATS.values():  # rows to classify are for encoders
        refuse_no_causal_model(model)
    if json:
        print_json(asdict(shown))
        return
    typer.echo(f"{shown.format}, {shown.rows} rows")
    for warning in shown.warnings:
        typer.echo(f"! {warning}")
    for note in shown.notes:
        typer.echo(f"· {note}")
    for example in shown.examples:
        typer.echo(
            f"\n{example.supervised_tokens} of {example.total_tokens} tokens supervised"
            f"{', truncated' if example.truncated else ''}\n{example.text}"
        )
