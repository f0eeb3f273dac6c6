"""From JSON to a checked spec, with every problem reported together, each with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_engine.errors import FieldProblem, InvalidInput, NotFound
from lora_engine.language import tr, translatable
from lora_engine.spec.run import RunSpec

MAX_SPEC_BYTES = 1_000_000
REMEDY = translatable("Correct these fields; docs/spec.md lists every field with its bounds.")


def parse_spec(text: str | bytes) -> RunSpec:
    """The spec in a JSON document.

    Raises InvalidInput naming every unknown key, wrong type and crossed bound with its path.
    """
    return spec_from(json_document(text, "The spec"))


def json_document(text: str | bytes, what: str) -> Any:
    """What JSON text holds; `what` is its name in an error. Raises InvalidInput."""
    if len(text) > MAX_SPEC_BYTES:
        problem = FieldProblem(
            "spec",
            tr(
                "{count} bytes, at most {max_spec_bytes} allowed",
                count=f"{len(text):,}",
                max_spec_bytes=f"{MAX_SPEC_BYTES:,}",
            ),
        )
        raise InvalidInput(what, [problem], tr(REMEDY))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = FieldProblem("spec", tr("not JSON ({error})", error=error))
        raise InvalidInput(what, [problem], tr(REMEDY)) from None


def spec_from(document: Any) -> RunSpec:
    """The spec in parsed JSON. Raises InvalidInput as `parse_spec` does."""
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(tr("The spec"), field_problems(error), tr(REMEDY)) from None


def read_spec(path: Path) -> RunSpec:
    """The spec in a file. Raises NotFound, or InvalidInput as `parse_spec` does."""
    if not path.is_file():
        raise NotFound(
            tr("There is no spec file {path}.", path=path), tr("Give the path of a JSON file.")
        )
    with path.open("rb") as file:
        return parse_spec(file.read(MAX_SPEC_BYTES + 1))


def field_problems(error: ValidationError, prefix: str = "") -> list[FieldProblem]:
    """What pydantic found wrong, by path; `prefix` is where the checked part stands."""
    problems = []
    for item in error.errors():
        names = [str(part) for part in item["loc"]]
        # pydantic ends the path of a union's member with that member's own description
        path = ".".join(name for name in names if not name.startswith(("literal[", "list[")))
        received = repr(item["input"])
        if len(received) > 80:
            received = received[:77] + "..."
        said = item["msg"].removeprefix("Value error, ")  # pydantic's name for our own words
        is_unknown = item["type"] == "extra_forbidden"
        message = "unknown key" if is_unknown else f"{said}, got {received}"
        whole = f"{prefix}.{path}".strip(".") if prefix else path
        problems.append(FieldProblem(whole or "spec", message))
    return problems
