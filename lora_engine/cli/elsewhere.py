"""Commands for training on another machine: export-task."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import print_json
from lora_engine.cli.runs import spec_file_argument
from lora_engine.environment import load_settings
from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.export.skypilot_task import SkyResources, write_task
from lora_engine.language import tr
from lora_engine.spec import read_spec

EXAMPLES = {"accelerators": "A100:1", "infra": "aws/us-east-1", "storage": "s3://bucket/path"}
"""Of the options whose values have a form."""


def register(app: typer.Typer) -> None:
    add_commands(app, export_task)


def export_task(
    spec_file: Annotated[Path, spec_file_argument()],
    output: Annotated[Path, typer.Option("--output", "-o", help=tr("The task file (.yaml)."))],
    accelerators: Annotated[
        str | None, typer.Option(help=tr("Cards of the machine, as A100:1; none: a CPU machine."))
    ] = None,
    cpus: Annotated[int | None, typer.Option(help=tr("Cores, at least."))] = None,
    memory_gib: Annotated[int | None, typer.Option(help=tr("Memory in GiB, at least."))] = None,
    disk_gib: Annotated[int | None, typer.Option(help=tr("Size of the disk in GiB."))] = None,
    infra: Annotated[
        str | None, typer.Option(help=tr("Where, as aws/us-east-1; the cheapest where left out."))
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help=tr("A cheaper machine that may be taken away."))
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(help=tr("Bucket for the run's folder, as s3://bucket/path.")),
    ] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write a SkyPilot task file that trains a spec on a rented machine: `sky launch FILE`."""
    spec = read_spec(spec_file)
    try:
        resources = SkyResources(
            accelerators=accelerators,
            cpus=cpus,
            memory_gib=memory_gib,
            disk_gib=disk_gib,
            infra=infra,
            spot=spot,
            storage=storage,
        )
    except ValidationError as error:
        problems = [
            FieldProblem("--" + str(one["loc"][0]).replace("_", "-"), _reason(one))
            for one in error.errors()
        ]
        raise InvalidInput(
            tr("The task"),
            problems,
            tr("Correct these options; `export-task --help` has examples."),
        ) from None
    written = write_task(spec, output, resources, load_settings())
    if json:
        print_json(
            {"task": str(written.task), "spec": str(written.spec), "document": written.document}
        )
    else:
        command = shlex.join(["sky", "launch", str(written.task)])
        typer.echo(
            tr("Written to {path}. Start it with `{command}`.", path=written.task, command=command)
        )


def _reason(found: ErrorDetails) -> str:
    """What is wrong with an option. A pattern says nothing to a person: an example does."""
    example = EXAMPLES.get(str(found["loc"][0]))
    if example is None or found["type"] != "string_pattern_mismatch":
        return found["msg"]
    value = repr(found["input"][:200])
    return tr("got {value}; a value looks like {example}", value=value, example=example)
