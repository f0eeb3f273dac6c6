"""The whole product without a browser: `python -m lora_engine COMMAND`, or `rankscope COMMAND`."""

from __future__ import annotations

import sys

import typer

from lora_engine.cli import (
    adapters,
    advise,
    calculator,
    classify,
    compare,
    data_check,
    elsewhere,
    environment,
    export,
    library,
    merge,
    methods,
    people,
    preview,
    runs,
    serve,
    spectrum,
    sweep,
    train,
)
from lora_engine.environment import language_named
from lora_engine.errors import EngineError
from lora_engine.language import speaking, tr
from lora_engine.scrubbing import scrub_output


def build() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,  # its boxes cut Chinese off, which has no spaces to break at
        pretty_exceptions_enable=False,
        help=tr(
            "The whole product without a browser: `python -m lora_engine COMMAND`, or "
            "`rankscope COMMAND`."
        ),
    )
    groups = (
        environment,
        preview,
        library,
        adapters,
        export,
        merge,
        calculator,
        advise,
        spectrum,
        train,
        elsewhere,
        runs,
        sweep,
        methods,
        compare,
        data_check,
        classify,
        serve,
        people,
    )
    for group in groups:
        group.register(app)
    return app


def main() -> int:
    scrub_output()
    try:
        with speaking(language_named()):
            build()()
    except EngineError as error:
        print(f"error: {error.problem}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
