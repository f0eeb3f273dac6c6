"""The command that takes an adapter away: export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_engine.adapter_operations.merge_report import DType
from lora_engine.cli.options import add_commands, json_flag
from lora_engine.cli.output import note, print_json, print_table
from lora_engine.environment import load_settings
from lora_engine.export.forms import (
    DTYPE_HELP,
    MEASURE_HELP,
    PRIVATE_HELP,
    PUSH_HELP,
    REQUANTIZED_HELP,
    SYSTEM_HELP,
    WITH_BASE_HELP,
    Form,
    forms_help,
    requantizations_named,
)
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.export import Fidelity, ServeCommand


def register(app: typer.Typer) -> None:
    add_commands(app, export)


def export(
    adapter: Annotated[str, typer.Argument(help=tr("A run's id, a listed name or a folder."))],
    output: Annotated[Path, typer.Option("--output", "-o", help=tr("The folder to write."))],
    form: Annotated[Form, typer.Option("--as", help=forms_help())] = "portable",
    base: Annotated[
        str, typer.Option(help=tr("The base to measure on; else the one it was trained on."))
    ] = "",
    dtype: Annotated[DType | None, typer.Option(help=tr(DTYPE_HELP))] = None,
    system: Annotated[str, typer.Option(help=tr(SYSTEM_HELP))] = "",
    with_base: Annotated[bool, typer.Option("--with-base", help=tr(WITH_BASE_HELP))] = False,
    measure: Annotated[bool, typer.Option(help=tr(MEASURE_HELP))] = True,
    requantized: Annotated[str, typer.Option(metavar="nf4,int8", help=tr(REQUANTIZED_HELP))] = "",
    push: Annotated[str, typer.Option(metavar="OWNER/NAME", help=tr(PUSH_HELP))] = "",
    private: Annotated[bool, typer.Option("--private/--public", help=tr(PRIVATE_HELP))] = True,
    overwrite: Annotated[
        bool,
        typer.Option(help=tr("Replace an output of this kind that exists, and an earlier push.")),
    ] = False,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Write an adapter for other programs, say where it loads and what it kept."""
    from lora_engine.engine import Engine
    from lora_engine.export import HubTarget

    report = Engine(load_settings()).exports.export(
        adapter,
        output,
        form,
        base=base or None,
        dtype=dtype,
        system=system,
        with_base=with_base,
        measure=measure,
        requantized=requantizations_named(requantized),
        push=HubTarget(push, private) if push else None,
        overwrite=overwrite,
    )
    if json:
        print_json(report.to_json())
        return
    typer.echo(f"{report.path}  {report.form}")
    if report.fidelity is not None:
        typer.echo(_words(report.fidelity))
    for found in report.requantized:
        typer.echo(f"base requantized to {found.quantization}: {_words(found)}")
    for one in report.notes:
        note(one)
    if report.loads:
        print_table(
            ("program", "loads", "why"),
            [(rule.program, "yes" if rule.loads else "no", rule.reason) for rule in report.loads],
        )
    if report.pushed is not None:
        seen_by = "private" if report.pushed.private else "public"
        typer.echo(f"\n{report.pushed.url}  {seen_by}, revision {report.pushed.revision}")
    for command in report.commands:
        typer.echo("\n".join(_serving(command)))


def _serving(command: ServeCommand) -> Sequence[str]:
    """A heading and the lines to type; the heading alone where nothing helps."""
    if not command.lines:
        return ("", f"{command.program} cannot serve it: {command.note}")
    heading = f"To serve it with {command.program}: {command.note}".rstrip()
    return ("", heading, *(f"  {line}" for line in command.lines))


def _words(found: Fidelity) -> str:
    answers = "no questions" if found.agreement is None else f"{found.agreement:.0%}"
    return (
        f"same greedy answers: {answers} of {found.answers}; KL {found.kl:.3g} nats; "
        f"loss {found.loss_before:.6f} before, {found.loss_after:.6f} after "
        f"({found.rows} {found.rows_from} rows)"
    )
