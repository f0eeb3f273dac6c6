"""Deeds: what changes something here. Each asks for a role first and is written down afterwards.

`@deed("cancel")` stands above a method of a service that has `_settings`, or above a function that
is given `Settings`. What was done is written down with what it was done to; so is what was refused
for the role.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from lora_engine.access.audit import record
from lora_engine.access.person import Forbidden, Role, need_role
from lora_engine.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


def deed(action: str, role: Role = "run") -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Only whoever has the role may do this. Raises Forbidden for the others."""

    def marked(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def done(*args: P.args, **kwargs: P.kwargs) -> T:
            given = [*args, *kwargs.values()]
            data_dir = _settings(given).data_dir
            try:
                need_role(role)
            except Forbidden:
                record(data_dir, f"{action} refused", _thing(given, None))
                raise
            result = function(*args, **kwargs)
            record(data_dir, action, _thing(given, result))
            return result

        return done

    return marked


def _settings(given: list[object]) -> Settings:
    own = getattr(given[0], "_settings", None)
    found = next((one for one in [own, *given] if isinstance(one, Settings)), None)
    if found is None:
        raise TypeError("a deed is a method of a service with settings, or is given them")
    return found


def _thing(given: list[object], result: object) -> str:
    """What it was done to: the id of what came of it, else what was named by the caller."""
    named = getattr(result, "id", None)
    texts = [str(one) for one in given if isinstance(one, str | Path)]
    return str(named) if named else " → ".join(text[:200] for text in texts[:2])
