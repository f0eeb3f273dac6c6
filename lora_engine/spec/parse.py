"""From JSON to a checked spec, with every problem reported together, each with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lora_engine.errors import FieldProblem, InvalidInput, NotFound
from lora_engine.language import ENGLISH, language, tr, translatable
from lora_engine.spec.run import RunSpec

MAX_SPEC_BYTES = 1_000_000
MAX_NAME_CHARACTERS = 80  # of a key in an error
# What pydantic says, by the type of its finding, with the names of its own values. It is English
# itself, and has the plurals right.
WORDS = {
    "missing": translatable("Field required"),
    "greater_than": translatable("Input should be greater than {gt}"),
    "greater_than_equal": translatable("Input should be greater than or equal to {ge}"),
    "less_than": translatable("Input should be less than {lt}"),
    "less_than_equal": translatable("Input should be less than or equal to {le}"),
    "literal_error": translatable("Input should be {expected}"),
    "int_type": translatable("Input should be a valid integer"),
    "int_from_float": translatable(
        "Input should be a valid integer, got a number with a fractional part"
    ),
    "float_type": translatable("Input should be a valid number"),
    "finite_number": translatable("Input should be a finite number"),
    "bool_type": translatable("Input should be a valid boolean"),
    "string_type": translatable("Input should be a valid string"),
    "string_too_short": translatable("String should have at least {min_length} characters"),
    "string_too_long": translatable("String should have at most {max_length} characters"),
    "string_pattern_mismatch": translatable("String should match pattern '{pattern}'"),
    "too_short": translatable("List should have at least {min_length} items, not {actual_length}"),
    "too_long": translatable("List should have at most {max_length} items, not {actual_length}"),
    "list_type": translatable("Input should be a valid list"),
    "dict_type": translatable("Input should be a valid dictionary"),
    "model_type": translatable("Input should be a valid dictionary"),
    "model_attributes_type": translatable("Input should be a valid dictionary"),
}
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
        names = [str(part)[:MAX_NAME_CHARACTERS] for part in item["loc"]]
        # pydantic ends the path of a union's member with that member's own description
        path = ".".join(name for name in names if not name.startswith(("literal[", "list[")))
        received = repr(item["input"])
        if len(received) > 80:
            received = received[:77] + "..."
        message = _in_words(item, received)
        whole = f"{prefix}.{path}".strip(".") if prefix else path
        problems.append(FieldProblem(whole or "spec", message))
    return problems


def _in_words(item: ErrorDetails, received: str) -> str:
    """One of pydantic's findings in the present language; what we do not know stays English."""
    if item["type"] == "extra_forbidden":
        return tr("unknown key")
    if item["type"] == "value_error":  # a validator of ours
        said = item["msg"].removeprefix("Value error, ")
    elif item["type"] in WORDS and language() != ENGLISH:
        said = tr(WORDS[item["type"]], **_rounded(item.get("ctx", {})))
    else:
        said = item["msg"]
    return tr("{said}, got {received}", said=said, received=received)


def _rounded(bounds: dict[str, Any]) -> dict[str, Any]:
    """1.0 as 1, as pydantic itself says it."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in bounds.items()
    }
