"""The commands for who may sign in: `people add`, `people remove`, `people list`."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_engine.access import ROLES, add_person, read_people, remove_person
from lora_engine.cli.options import add_commands, json_flag, one_of
from lora_engine.cli.output import print_json, print_table
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.language import tr


def register(app: typer.Typer) -> None:
    people = typer.Typer(
        help=tr("Who may sign in to a dashboard with a login."), no_args_is_help=True
    )
    add_commands(people, add, remove)
    people.command("list", help=tr("Everybody who may sign in, and their roles."))(list_people)
    app.add_typer(people, name="people")


def _file_option() -> Any:
    return typer.Option(
        "--file", help=tr("The people file, else LORA_PASSWORD_FILE."), show_default=False
    )


def add(
    name: Annotated[str, typer.Argument(help=tr("The person's name."))],
    role: Annotated[str, typer.Option(help=one_of(ROLES))],
    file: Annotated[Path | None, _file_option()] = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help=tr("For somebody who comes by a proxy."))
    ] = False,
) -> None:
    """Add somebody, or give them another role or password.

    The password is asked for, or read as one line from standard input.
    """
    path = _file(file)
    is_new = add_person(path, name, role, "" if no_password else _password())
    if is_new:
        print(tr("Added {name} to {path}.", name=name, path=path))
    else:
        print(tr("Changed {name} in {path}.", name=name, path=path))


def remove(
    name: Annotated[str, typer.Argument(help=tr("The person's name."))],
    file: Annotated[Path | None, _file_option()] = None,
) -> None:
    """Remove somebody, whose sessions end with it."""
    remove_person(_file(file), name)


def list_people(
    file: Annotated[Path | None, _file_option()] = None,
    json: Annotated[bool, json_flag()] = False,
) -> None:
    """Everybody who may sign in, and their roles."""
    people = read_people(_file(file)).values()
    if json:
        print_json([{"name": one.name, "role": one.role} for one in people])
        return
    print_table(("name", "role"), ((one.name, one.role) for one in people))


def _file(given: Path | None) -> Path:
    found = given or load_settings().password_file
    if found is None:
        raise EngineError(
            tr("No people file is named."), tr("Add --file FILE, or set LORA_PASSWORD_FILE.")
        )
    return found


def _password() -> str:
    """A password from the terminal, typed twice, or from standard input."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass(tr("Password: "))
        if getpass(tr("Once more: ")) != password:
            raise EngineError(tr("The two passwords differ."), tr("Try again."))
    if not password:
        raise EngineError(tr("No password was given."), tr("Type one, or add --no-password."))
    return password
