"""Names of what a person adds or makes here: each becomes a folder's name, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr

MAX_NAME = 80
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,79}")


def named_folder(parent: Path, name: str, what: str = "") -> Path:
    """The folder called `name` in `parent`. Raises InvalidInput for a name that is more than one.

    what: begins the sentence of the refusal, in the present language; left out, the adapter.
    """
    if not _NAME.fullmatch(name):
        message = tr(
            "got {name}; allowed are letters, digits, _, . and -, at most {most}, the first a "
            "letter or digit",
            name=f"{name[:100]!r}",
            most=MAX_NAME,
        )
        problems = [FieldProblem("name", message)]
        raise InvalidInput(what or tr("The adapter"), problems, tr("Give another name."))
    return parent / name


def name_from(text: str) -> str:
    """A name out of a file's, a repository's or an adapter's."""
    return re.sub(r"[^A-Za-z0-9_.\-]+", "-", text).strip(".-_")[:MAX_NAME] or "adapter"
