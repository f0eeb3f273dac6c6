"""Paths that a person typed: all of the disk for whoever sits at this machine, allowed roots else.

Somebody behind a login reaches `LORA_ALLOWED_ROOTS` (without it the data and the models folder)
and in the data folder only what is their own. Links are followed before the path is checked, and
a refusal says nothing of what is there. Every text that becomes a path of this machine comes
through `typed_path`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.access.owners import may_see, owner_above
from lora_engine.access.person import LOCAL, person_now
from lora_engine.errors import EngineError
from lora_engine.files import given_path
from lora_engine.language import tr

if TYPE_CHECKING:
    from lora_engine.settings import Settings

BUNDLED = Path(__file__).resolve().parents[1] / "starter"  # what comes with the program
NOWHERE = Path(os.devnull)  # no path goes on below it
MAX_BYTES = 4_000
MADE_HERE = ("adapters", "exports")  # folders of the data folder in which a person names new ones


def typed_path(text: str | Path, settings: Settings) -> Path:
    """The path that a person's text means, whether something is there or not.

    Behind a login a relative path leads nowhere: the folder that the server was started in is
    nobody's there. Raises EngineError for a text
    that is no path (`given_path`), and for a path that the person does not reach.
    """
    if person_now() == LOCAL:
        return given_path(text)
    if "\0" in str(text) or len(os.fsencode(text)) > MAX_BYTES:
        raise _out_of_reach(text, settings)
    path = Path(os.path.expanduser(text))
    if not path.is_absolute():
        return NOWHERE / path
    resolved = Path(os.path.realpath(path))
    if not any(resolved.is_relative_to(root) for root in (BUNDLED, *allowed_roots(settings))):
        raise _out_of_reach(text, settings)
    if not is_open(resolved, settings):
        raise _out_of_reach(text, settings)
    return path


def allowed_roots(settings: Settings) -> tuple[Path, ...]:
    """The folders in which the paths of people behind a login may lie."""
    return settings.allowed_roots or (settings.data_dir, settings.models_dir)


def is_open(path: Path, settings: Settings) -> bool:
    """Whether the person who acts may open this path, which has no links in it.

    What somebody owns is open to them and to who manages. The models and other roots are
    everybody's; the rest of the data folder is LOCAL's, but for a new name in a folder where
    people make their own.
    """
    owner = owner_above(path)
    if owner is not None:
        return may_see(owner)
    if path.is_relative_to(settings.models_dir) or not path.is_relative_to(settings.data_dir):
        return True
    is_new = path.parent in [settings.data_dir / one for one in MADE_HERE] and not path.exists()
    return is_new or may_see(LOCAL.name)


def _out_of_reach(text: str | Path, settings: Settings) -> EngineError:
    shown = f"{str(text)[:100]!r}"
    roots = ", ".join(str(root) for root in allowed_roots(settings))
    return EngineError(
        tr("{shown} is no path that you can use here.", shown=shown),
        tr("Give one of your own in {roots}.", roots=roots),
    )
