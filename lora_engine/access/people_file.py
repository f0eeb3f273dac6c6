"""The people file: one line a person, `name:role:argon2-hash`, written by `rankscope people`.

It is read again as soon as it changes, so that whoever is added or removed need not wait for a
restart. A password is stored as an Argon2id hash and nowhere else. Knows no request.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lora_engine.access.person import LOCAL, ROLES, Person, Role
from lora_engine.errors import EngineError, NotFound
from lora_engine.files import given_path, read_bounded, write_atomically
from lora_engine.language import tr
from lora_engine.names import is_plain

MAX_NAME = 64
MAX_FILE_BYTES = 1_000_000
MIN_PASSWORD, MAX_PASSWORD = 10, 1_000  # characters
HEADER = b"# name:role:argon2-hash -- written by `rankscope people`\n"


@dataclass(frozen=True)
class Listed:
    """One line of the file. hash: of the password, or "" for one who comes by a proxy alone."""

    name: str
    role: Role
    hash: str


class PeopleFile:
    """The people of a file, as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._people: Mapping[str, Listed] = {}

    def people(self) -> Mapping[str, Listed]:
        """Everybody in the file, by name. Raises EngineError where it cannot be read."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error.strerror or str(error)) from None
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._people = read_people(self.path)
            self._seen = seen
        return self._people

    def listed(self, name: str) -> Listed | None:
        return self.people().get(name)

    def checked(self, name: str, password: str, address: str) -> Person | None:
        """The person of this name and password, in the same time whether or not there is one."""
        listed = self.listed(name)
        is_right = matches(listed.hash if listed and listed.hash else _nobodys_hash(), password)
        return Person(name, listed.role, address) if is_right and listed and listed.hash else None


def read_people(path: Path) -> Mapping[str, Listed]:
    """Everybody in the file by name. Raises EngineError, which names the line that is wrong."""
    try:
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _unreadable(path, tr("others may write it; `chmod 600` it"))
        text = read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from None
    found: dict[str, Listed] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        role, _, password_hash = rest.partition(":")
        if not _is_name(name) or role not in ROLES or name in found or not _is_hash(password_hash):
            raise _unreadable(path, tr("line {number} is no `name:role:hash`", number=number))
        found[name] = Listed(name, role, password_hash)
    return found


def add_person(path: str | Path, name: str, role: str, password: str) -> bool:
    """Put somebody into the file, or change who is there. Returns whether they are new.

    password: "" for somebody who comes by a proxy alone. The file is made where there is none, and
    only its owner may read it. Raises EngineError.
    """
    file = given_path(path)
    if not _is_name(name):
        raise EngineError(
            tr("{name} is no name for a person.", name=f"{name[:80]!r}"),
            tr("Use letters, digits and . _ @ -, at most 64; “local” is whoever sits here."),
        )
    if role not in ROLES:
        raise EngineError(
            tr("{role} is no role.", role=f"{role[:80]!r}"),
            tr("Choose one of {roles}.", roles=", ".join(ROLES)),
        )
    if password and not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise EngineError(
            tr("The password has {count} characters.", count=len(password)),
            tr("Choose one of {least} to {most}.", least=MIN_PASSWORD, most=MAX_PASSWORD),
        )
    people = dict(read_people(file)) if file.exists() else {}
    is_new = name not in people
    people[name] = Listed(name, role, hashed(password) if password else "")
    _write(file, people)
    return is_new


def remove_person(path: str | Path, name: str) -> None:
    """Take somebody out of the file; their open sessions end with it. Raises NotFound."""
    file = given_path(path)
    people = dict(read_people(file))
    if people.pop(name, None) is None:
        raise NotFound(
            tr("{name} is not in {path}.", name=f"{name[:80]!r}", path=file),
            tr("`rankscope people list` names everybody."),
        )
    _write(file, people)


def hashed(password: str) -> str:
    """The Argon2id hash of a password, salted."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def matches(password_hash: str, password: str) -> bool:
    """Whether the password has this hash; takes as long for a wrong one as for the right one."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(password_hash, password[:MAX_PASSWORD])
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    """What the password of an unknown name is compared with, for the time that it takes."""
    return hashed(os.urandom(16).hex())


def _write(path: Path, people: Mapping[str, Listed]) -> None:
    lines = "".join(f"{one.name}:{one.role}:{one.hash}\n" for one in people.values())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, HEADER + lines.encode())
        path.chmod(0o600)
    except OSError as error:
        raise EngineError(
            tr("{path} cannot be written: {reason}.", path=path, reason=error.strerror or error),
            tr("Choose another file, or make room for it."),
        ) from None


def _is_name(name: str) -> bool:
    return is_plain(name, MAX_NAME, "@") and name != LOCAL.name


def _is_hash(text: str) -> bool:
    return text == "" or text.startswith("$argon2id$")


def _unreadable(path: Path, reason: str) -> EngineError:
    return EngineError(
        tr("The people file {path} cannot be used: {reason}.", path=path, reason=reason),
        tr("Make it with `rankscope people add NAME --role run`, or correct LORA_PASSWORD_FILE."),
    )
