"""Values as they stand in a record: text or refused, empty or not, and what a person calls them.

Knows nothing of formats. A wrong row raises `InvalidRow`; whoever reads a file collects these.
"""

from __future__ import annotations

import json
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.foreign_files import json_complaint
from lora_engine.language import tr, translatable

_KINDS = {
    "str": translatable("text"),
    "list": translatable("a list"),
    "dict": translatable("an object"),
    "bytes": translatable("binary data"),
}


class InvalidRow(Exception):
    """One row is wrong, and how; `parse_rows` collects these and reports them together."""


class UnknownFormat(EngineError):
    """The columns are those of no format, or of none to learn from; a mapping can read them."""


def is_empty(value: Any) -> bool:
    """Nothing stands there: null, NaN, blank text, or a list or object of nothing else."""
    if value is None or value != value:  # noqa: PLR0124 (only NaN differs from itself)
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list | tuple):
        return all(is_empty(item) for item in value)
    if isinstance(value, dict):
        return all(is_empty(item) for item in value.values())
    return False


def text_of(value: Any, where: str) -> str:
    """The text that stands there. Raises InvalidRow for anything else."""
    if not isinstance(value, str):
        raise InvalidRow(
            tr("{where} is {kind_of}, text is needed", where=where, kind_of=kind_of(value))
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRow(
            tr("{where} holds half a surrogate pair at {start}", where=where, start=error.start)
        ) from None
    return value


def optional_text(value: Any, where: str) -> str:
    """As `text_of`; null and NaN (how tables write a cell without a value) are empty."""
    if value is None or value != value:  # noqa: PLR0124 (only NaN differs from itself)
        return ""
    return text_of(value, where)


def flag_of(value: Any) -> bool | None:
    """A yes or no however it is written: true, 1, "true", "1"; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def json_of(value: Any, where: str) -> Any:
    """A value that may be written as JSON text. Raises InvalidRow for text that is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidRow(
            tr("{where} is not JSON ({error})", where=where, error=json_complaint(error))
        ) from None


def as_json(value: Any, where: str) -> str:
    """A value as JSON text. Raises InvalidRow where JSON has no such value."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRow(
            tr("{where} cannot be written as JSON ({error})", where=where, error=error)
        ) from None


def kind_of(value: Any) -> str:
    """A value's kind as the file's author would call it."""
    if value is None:
        return tr("empty (null)")
    if isinstance(value, bool):
        return tr("true/false ({value})", value=value)
    if isinstance(value, int | float):
        is_number = value == value  # noqa: PLR0124 (only NaN differs from itself)
        return tr("a number ({value})", value=shortened(value)) if is_number else "NaN"
    kind = type(value).__name__
    return tr(_KINDS.get(kind, kind))


def keys_of(value: Any) -> str:
    """What a value has instead of what was looked for: its first keys, or its kind."""
    if not isinstance(value, dict):
        return tr("is {kind}", kind=kind_of(value))
    if not value:
        return tr("has no columns")
    names = [shortened(name) for name in value]
    listed = ", ".join(names[:12])
    if len(names) > 12:
        return tr("has {names} and more", names=listed)
    return tr("has {names}", names=listed)


def shortened(value: Any) -> str:
    """At most 40 characters of a value."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # an integer with more digits than Python prints
        text = tr("a very long number")
    return text if len(text) <= 40 else text[:37] + "..."
