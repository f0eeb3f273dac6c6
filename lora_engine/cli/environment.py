"""Commands that show what this machine has: doctor, models, datasets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lora_engine.base_models import (
    list_base_models,
)
from lora_engine.cli import output
from lora_engine.cli.options import add_commands, json_flag, yes_flag
from lora_engine.cli.output import print_json, print_table
from lora_engine.data import delete_upload, list_datasets
from lora_engine.doctor import run_checks
from lora_engine.environment import load_settings
from lora_engine.language import tr


def register(app: typer.Typer) -> None:
    add_commands(app, doctor, models, datasets, delete_dataset)


def doctor(json: Annotated[bool, json_flag()] = False) -> None:
    """Versions, devices, settings, and what works on this machine."""
    checks = run_checks(load_settings())
    if json:
        print_json({"checks": [asdict(check) for check in checks]})
        return
    print_table(
        ("", "check", "detail"),
        (("ok" if check.ok else "no", check.name, check.detail) for check in checks),
    )


def models(json: Annotated[bool, json_flag()] = False) -> None:
    """The base models known here."""
    found = list_base_models(load_settings())
    if json:
        print_json([asdict(model) for model in found])
        return
    print_table(
        ("name", "architecture", "path"),
        ((model.name, model.architecture, model.path) for model in found),
    )


def datasets(json: Annotated[bool, json_flag()] = False) -> None:
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
    name: Annotated[str, typer.Argument(help=tr("The uploaded dataset, as `datasets` lists it."))],
    yes: Annotated[bool, yes_flag()] = False,
) -> None:
    """Delete an uploaded dataset. Runs that were trained on it keep what they made."""
    output.confirm_deletion(name, yes)
    delete_upload(name, load_settings())
    typer.echo(tr("{name}  deleted", name=name))
