"""What the environment says: the settings of this process, and the language it speaks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.language import ENGLISH, LANGUAGES, tr
from lora_engine.settings import Settings, environment_names

LISTS = frozenset(  # comma-separated
    {"allowed_hosts", "allowed_roots", "allowed_servers", "frame_ancestors", "trusted_proxies"}
)


def language_named() -> str:
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


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read `Settings` from the environment.

    Raises InvalidInput, naming every variable that is wrong.
    """
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {
        field: environment[variable]
        for field, variable in environment_names().items()
        if environment.get(variable, "") != ""
    }
    for field in LISTS.intersection(given):
        given[field] = [part.strip() for part in given[field].split(",") if part.strip()]
    if "models_dir" not in given and "data_dir" in given:
        given["models_dir"] = str(Path(given["data_dir"]) / "models")
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        names = environment_names()
        raise _refused(
            FieldProblem(names[str(item["loc"][0])], _reason(item)) for item in error.errors()
        ) from None
    paths = ("data_dir", "models_dir", "llama_cpp_dir", "api_key_file", "password_file")
    real = {name: _real_path(name, path) for name in paths if (path := getattr(settings, name))}
    data_dir = real["data_dir"]
    if os.path.exists(data_dir) and not os.path.isdir(data_dir):
        raise _wrong_path("data_dir", tr("{path} is no folder", path=data_dir))
    roots = tuple(_real_path("allowed_roots", root) for root in settings.allowed_roots)
    return settings.model_copy(update={**real, "allowed_roots": roots})


def _real_path(field: str, path: Path) -> Path:
    """The path without ~ and links. Raises InvalidInput."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a ring, a home of nobody
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _wrong_path(field, reason or str(error)) from error


def _wrong_path(field: str, reason: str) -> InvalidInput:
    return _refused([FieldProblem(environment_names()[field], reason)])


def _refused(problems: Iterable[FieldProblem]) -> InvalidInput:
    remedy = tr("Correct these environment variables or unset them.")
    return InvalidInput(tr("The environment"), list(problems), remedy)


def _reason(item: ErrorDetails) -> str:
    """What is wrong with a value. A pattern says nothing to a person: what it is for does."""
    field = Settings.model_fields.get(str(item["loc"][0]))
    if item["type"] == "string_pattern_mismatch" and field is not None and field.description:
        wanted = tr(field.description).rstrip(".")
        return tr("got {value}, and this is wanted: {wanted}", value=_shown(item), wanted=wanted)
    return tr("{why}, got {value}", why=item["msg"], value=_shown(item))


def _shown(item: ErrorDetails) -> str:
    """What was given, for the error: a secret is not shown."""
    return tr("a secret") if item["loc"][0] == "token" else f"{item['input']!r}"
