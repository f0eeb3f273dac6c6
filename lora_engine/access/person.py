"""The person that acts, and their role: see, run or manage.

Whoever sits at this machine, and the command line, is `LOCAL`, who manages. Behind a login the
dashboard says for every request and every handler who acts (`acting_as`); a service that writes
asks `need_role`, and one that keeps what is somebody's asks `person_now`. What starts a thread
hands the person on with the language (`contextvars.copy_context`).

Knows no password and no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, get_args

from lora_engine.errors import EngineError
from lora_engine.language import tr

Role = Literal["see", "run", "manage"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may


@dataclass(frozen=True)
class Person:
    """Who acts. name: unique here; address: where they are, for the audit log, or ""."""

    name: str
    role: Role
    address: str = ""

    def may(self, role: Role) -> bool:
        """Whether this person may do what the role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Person("local", "manage")
_person: ContextVar[Person] = ContextVar("person", default=LOCAL)


class Forbidden(EngineError):
    """Something that the person's role does not let them do."""


def person_now() -> Person:
    """Who acts in the present work."""
    return _person.get()


@contextmanager
def acting_as(person: Person) -> Iterator[None]:
    """What is done inside the block is done by this person."""
    token = _person.set(person)
    try:
        yield
    finally:
        _person.reset(token)


def need_role(role: Role) -> None:
    """Raises Forbidden where the person who acts may not do what the role may."""
    person = person_now()
    if person.may(role):
        return
    raise Forbidden(
        tr(
            "{name} has the role {own}; this needs the role {role}.",
            name=person.name,
            own=person.role,
            role=role,
        ),
        tr("Ask whoever manages this dashboard for that role."),
    )
