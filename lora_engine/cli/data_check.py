"""The command that says what is wrong with a dataset, and writes it without these rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.cli.options import add_commands, field_help, json_flag
from lora_engine.cli.output import note, print_json
from lora_engine.data import load_dataset
from lora_engine.data.checks import FindingKind, check_dataset, write_cleaned
from lora_engine.data.checks.findings import kinds_named
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.files import given_path
from lora_engine.language import tr, tr_count
from lora_engine.spec import DatasetSpec, OptimizationSpec, spec_from

NAMES = ", ".join(kind.label for kind in FindingKind)


def register(app: typer.Typer) -> None:
    add_commands(app, check_data)


def check_data(
    dataset: Annotated[str, typer.Argument(help=field_help(DatasetSpec, "source"))],
    base: Annotated[
        str, typer.Option(help=tr("The base model whose tokenizer counts."))
    ] = "starter",
    max_length: Annotated[
        int, typer.Option(min=8, help=field_help(OptimizationSpec, "max_length"))
    ] = OptimizationSpec().max_length,
    clean: Annotated[
        Path | None, typer.Option(help=tr("Write the rows that are left to this new file."))
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(help=tr("The findings whose rows --clean drops: {names}.", names=NAMES)),
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """What is wrong with a dataset, row by row, and on request the dataset without these rows."""
    if (clean is None) != (drop is None):
        raise EngineError(
            tr("--clean and --drop belong together."),
            tr("Give --clean OUT.jsonl --drop KINDS, or neither."),
        )
    settings = load_settings()
    kinds = kinds_named(drop.split(",")) if drop is not None else ()
    spec = spec_from(
        {
            "base_model": base,
            "dataset": {"source": dataset},
            "optimization": {"max_length": max_length},
        }
    )
    rows = load_dataset(spec.dataset, settings)
    tokenizer = load_tokenizer(resolve_base_model(base, settings))
    check = check_dataset(rows, tokenizer, max_length)
    cleaned = None
    if clean is not None:
        cleaned = write_cleaned(rows, check, kinds, given_path(clean))
    if json:
        written = None if cleaned is None else cleaned.to_json()
        print_json({**check.to_json(), "cleaned": written})
        return
    size = tr_count("{count} row", "{count} rows", check.rows)
    typer.echo(f"{check.format}, {size}")
    for finding in check.findings:
        typer.echo(
            f"\n{tr(finding.kind.label)}: {tr(finding.kind.title)} "
            f"({tr_count('{count} row', '{count} rows', len(finding.places))}: {finding.numbers})"
            f"\n  {finding.excerpts[0]}\n  {tr(finding.kind.remedy)}"
        )
    if not check.findings:
        typer.echo(tr("Nothing was found."))
    if cleaned is not None:
        note(
            tr(
                "{rows} rows written to {path}; removed: {removed}",
                rows=f"{cleaned.rows:,}",
                path=cleaned.path,
                removed=cleaned.removed,
            )
        )
