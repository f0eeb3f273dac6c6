"""The cookies of somebody who has signed in: the session, and the name that the bar shows.

Their names carry the port of the address, since a browser sends a host's cookies to all its ports.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response

SESSION, PERSON = "rankscope_session", "rankscope_person"
MAX_HEADER = 10_000


def read_session(headers: Headers) -> str:
    """The session's text, "" where there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")[:MAX_HEADER])
    except CookieError:
        return ""
    morsel = found.get(_name(SESSION, headers))
    return morsel.value if morsel else ""


def set_session(
    answer: Response, headers: Headers, text: str, person: str, lifetime_s: int, is_https: bool
) -> None:
    """Have the browser keep the session. Its script may read the name, never the session."""
    _set(answer, _name(SESSION, headers), text, lifetime_s, is_https, is_for_scripts=False)
    _set(answer, _name(PERSON, headers), quote(person), lifetime_s, is_https, is_for_scripts=True)


def end_session(answer: Response, headers: Headers) -> None:
    for name in (SESSION, PERSON):
        answer.delete_cookie(_name(name, headers), path="/", samesite="lax")


def _set(
    answer: Response, name: str, value: str, max_age: int, is_https: bool, is_for_scripts: bool
) -> None:
    answer.set_cookie(
        name, value, max_age=max_age, path="/", samesite="lax", secure=is_https,
        httponly=not is_for_scripts,
    )  # fmt: skip


def _name(name: str, headers: Headers) -> str:
    port = headers.get("host", "").rpartition(":")[2]
    return f"{name}_{port}" if port.isascii() and port.isdigit() else name
