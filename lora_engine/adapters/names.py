"""Names of what a person adds or makes here: each becomes a folder's name, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lora_engine.errors import FieldProblem, InvalidInput
from lora_engine.language import tr
from lora_engine.names import MAX_PLAIN, is_plain, plain_from

OF_ADAPTERS = ("base",)
"""Names that no adapter can have: Compare's columns are called by the adapters and so."""


def named_folder(parent: Path, name: str, what: str = "", reserved: Collection[str] = ()) -> Path:
    """The folder called `name` in `parent`. Raises InvalidInput for a name that is more than one.

    what: begins the sentence of the refusal, in the present language; left out, the adapter.
    reserved: names that mean something else.
    """
    if name.lower() in reserved:
        problems = [FieldProblem("name", tr("{name} means something else here", name=f"{name!r}"))]
        raise InvalidInput(what or tr("The adapter"), problems, tr("Give another name."))
    if not is_plain(name):
        message = tr(
            "got {name}; allowed are letters, digits, _, . and -, at most {most}, the first a "
            "letter or digit",
            name=f"{name[:100]!r}",
            most=MAX_PLAIN,
        )
        problems = [FieldProblem("name", message)]
        raise InvalidInput(what or tr("The adapter"), problems, tr("Give another name."))
    return parent / name


def name_from(text: str) -> str:
    """A name out of a file's, a repository's or an adapter's."""
    return plain_from(text, MAX_PLAIN, "adapter")
