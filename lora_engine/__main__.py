"""The whole product without a browser: `python -m lora_engine COMMAND`, or `rankscope COMMAND`."""

from __future__ import annotations

import os
import sys

import typer

from lora_engine.cli import (
    adapters,
    advise,
    calculator,
    classify,
    compare,
    data_check,
    environment,
    export,
    library,
    merge,
    methods,
    preview,
    runs,
    serve,
    spectrum,
    sweep,
    train,
)
from lora_engine.errors import EngineError
from lora_engine.language import ENGLISH, LANGUAGES, speaking, tr
from lora_engine.scrubbing import scrub_output


def build() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
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
        runs,
        sweep,
        methods,
        compare,
        data_check,
        classify,
        serve,
    )
    for group in groups:
        group.register(app)
    return app


def _language() -> str:
    """The language that LORA_LANGUAGE names. Raises EngineError for one that is not spoken."""
    name = os.environ.get("LORA_LANGUAGE") or ENGLISH
    if name not in LANGUAGES:
        raise EngineError(
            tr(
                "LORA_LANGUAGE is {name}; {languages} are spoken.",
                name=f"{name[:40]!r}",
                languages=", ".join(LANGUAGES),
            ),
            tr("Choose one of these, or unset it."),
        )
    return name


def main() -> int:
    scrub_output()
    try:
        with speaking(_language()):
            build()()
    except EngineError as error:
        print(f"error: {error.problem}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
