"""Whose each session of Gradio's is: the person's who first asked in it, and nobody else's.

Gradio names a session by what the browser makes up, so whoever knew the name could read what comes
in it. Knows Gradio's addresses and keeps a bounded number of sessions.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from urllib.parse import parse_qs

from starlette.types import Message, Receive, Scope

MAX_SESSIONS = 20_000
IN_PATH = ("heartbeat", "stream")
IN_BODY = ("queue", "run", "call", "api", "cancel", "reset", "component_server")


class GradioSessions:
    """Of an app behind the gate; used by its one event loop."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def let_in(
        self, scope: Scope, path: str, receive: Receive, person: str
    ) -> tuple[bool, Receive]:
        """Whether the request may go on in the session that it names, and how to read it now."""
        operation = path.removeprefix("/gradio_api/")
        if operation == path:
            return True, receive
        named = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
        first, _, rest = operation.partition("/")
        if first in IN_PATH:
            named.append(rest.split("/")[0])
        if scope["method"] == "POST" and first in IN_BODY:
            body, receive = await _read(receive)
            named += _in_body(body)
        return all(self._belongs(session, person) for session in named), receive

    def _belongs(self, session: str, person: str) -> bool:
        owner = self._owners.setdefault(session[:200], person)
        self._owners.move_to_end(session[:200])
        while len(self._owners) > MAX_SESSIONS:
            self._owners.popitem(last=False)
        return owner == person


def _in_body(body: bytes) -> list[str]:
    """What a body of JSON says under `session_hash`; Gradio itself refuses what is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return []
    session = said.get("session_hash") if isinstance(said, dict) else None
    return [session] if isinstance(session, str) else []


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """The whole body, whose length the guard bounds, and a `receive` that gives it again."""
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    body = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return body, again
