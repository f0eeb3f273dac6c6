"""What may be told to others of names and texts that this machine gave: no path, no secret.

A path becomes its last name, and a folder of a hub's cache the hub's id. Knows no file.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

HIDDEN = "[removed]"
SECRETS = re.compile(r"\b(?:hf|sk|ghp|glpat|xox[abp])[_-][A-Za-z0-9_\-]{8,}")
IN_CACHE = re.compile(r"(?:^|[/\\])models--([\w.\-]+?)--([\w.\-]+?)(?=[/\\]|$)")
UNTOLD = frozenset({"adapter", "model", "checkpoint"})  # folders whose parent has the name
IS_PATH = re.compile(r"file:|~|/|\\\\|[A-Za-z]:[/\\]")
_WORD = r"[^\s'\"`,;)/\\]+"
PATH_INSIDE = re.compile(
    rf"(?<![\w:/.<>~\[\\])(?:(?:~|[A-Za-z]:|\\)?[/\\]{_WORD}(?:[/\\]{_WORD})+|~[/\\]{_WORD})"
)


def public_name(name: str) -> str:
    """A model's, adapter's or file's name; of a path the last part that says something."""
    in_cache = IN_CACHE.search(name)
    if in_cache is not None:
        return "/".join(in_cache.groups())
    if not IS_PATH.match(name):
        return SECRETS.sub(HIDDEN, name)
    parts = [part for part in _parts(name) if part not in ("/", "~")] or [HIDDEN]
    told = parts[-2] if parts[-1] in UNTOLD and len(parts) > 1 else parts[-1]
    return SECRETS.sub(HIDDEN, told)


def public_text(text: str) -> str:
    """A text with every path in it shortened to its name, and secrets taken out."""
    if IS_PATH.match(text):
        return public_name(text)
    return SECRETS.sub(HIDDEN, PATH_INSIDE.sub(lambda found: public_name(found[0]), text))


def public_document(value: Any) -> Any:
    """A JSON document with `public_text` in place of every text, keys too."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, dict):
        return {public_text(key): public_document(item) for key, item in value.items()}
    if isinstance(value, list):
        return [public_document(item) for item in value]
    return value


def _parts(path: str) -> tuple[str, ...]:
    path = path.removeprefix("file:")
    if "\\" in path:
        found = PureWindowsPath(path)
        return found.parts[1:] if found.anchor else found.parts
    return PurePosixPath(path).parts
