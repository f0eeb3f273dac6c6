"""The guard in front of every request.

Gradio checks neither Host nor Origin, accepts uploads of any size and can fetch any public URL
for whoever asks. `Guard` is an ASGI middleware that refuses those before Gradio sees them, and
puts the safety headers on every answer. Its rules hold for the dashboard of every language. This
module knows nothing of pages and does not import gradio.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.shared.answer_headers import answer_headers
from pages.shared.languages import without_prefix

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARD_HOSTS = frozenset({"0.0.0.0", "::", ""})
MEGABYTE = 1_000_000
MAX_BODY_BYTES = 8 * MEGABYTE  # of a request that is no upload: form values and prompts
THROWN_AWAY_BYTES, THROWN_AWAY_S = 64 * MEGABYTE, 10
"""Of a request that is refused as too large: what is still taken before the connection closes."""
MULTIPART_BYTES = 4096  # what a multipart envelope adds to one file
UPLOAD_PATHS = frozenset({"/gradio_api/upload", "/gradio_api/upload/"})

# The operations under /gradio_api that the dashboard uses; the rest (proxy, code editing, run
# history, recordings, profiling) is refused.
GRADIO_OPERATIONS = frozenset(
    {
        *("api", "call", "run", "queue", "cancel", "reset", "component_server"),
        *("upload", "upload_progress", "info", "openapi.json", "config", "theme.css"),
        *("app_id", "heartbeat", "startup-events", "login_check", "user"),
    }
)


def host_name(netloc: str) -> str | None:
    """The lower-case host in `host`, `host:port` or `[v6]:port`; None where it is malformed."""
    if any(character in netloc for character in "@/\\?# \t") or not netloc:
        return None
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port  # raises where the port is no number
    except ValueError:
        return None
    return parts.hostname


def _without_port(host: str) -> str:
    """'lab.example:8443' -> 'lab.example'; an IPv6 address stays, with brackets or without."""
    if host.count(":") > 1 and not host.startswith("["):
        return host
    return host_name(host) or host


def _is_address(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


class Refusal(Exception):
    """A request that is not let through: the status to answer with and a plain sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Guard:
    """ASGI middleware: Host, Origin, paths and body sizes checked; safety headers on answers.

    allowed_hosts: names beside loopback that may stand in Host and in Origin, with a port where
    the Origin has one that is not its scheme's.
    max_upload_mb: largest upload, in MB of 10^6 bytes.
    bound_host: the address that is served, which may stand in Host.
    any_address: an IP address may stand in Host too, as where a login asks everybody who they are:
    only a name can be made to lead here (DNS rebinding).
    frame_ancestors: sites that may show the dashboard in a frame.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Iterable[str],
        max_upload_mb: int,
        bound_host: str = "127.0.0.1",
        any_address: bool = False,
        frame_ancestors: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.origins = frozenset(host.lower() for host in allowed_hosts) - WILDCARD_HOSTS
        named = {_without_port(host) for host in self.origins}
        self.hosts = (LOOPBACK_HOSTS | named | {bound_host.lower()}) - WILDCARD_HOSTS
        self.any_address = any_address
        self.headers = answer_headers(frame_ancestors)
        self.max_upload_bytes = max_upload_mb * MEGABYTE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refusal as refusal:
            await self._refuse(refusal, scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        body = _CountedBody(receive, self._body_limit(scope))
        answer = _GuardedAnswer(send, body, self.headers)
        try:
            await self.app(scope, body.receive, answer.send)
        except ClientDisconnect:
            if not body.too_large:
                raise
        if body.too_large and not answer.started:
            await self._refuse(_too_large(body.limit), scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        self._check_origin(headers)
        _check_path(without_prefix(scope["path"]))
        if scope["type"] == "http":
            length = headers.get("content-length", "0")
            limit = self._body_limit(scope)
            if not length.isascii() or not length.isdigit():
                raise Refusal(400, f"The Content-Length {length[:40]!r} is not a number.")
            if int(length) > limit:
                raise _too_large(limit)

    def _check_host(self, headers: Headers) -> None:
        if len(headers.getlist("host")) != 1:
            raise Refusal(421, "The request must name exactly one Host.")
        for name in ("host", "x-forwarded-host", "x-gradio-server"):
            for value in headers.getlist(name):
                host = host_name(value if name != "x-gradio-server" else urlsplit(value).netloc)
                is_address = self.any_address and _is_address(host)
                if host not in self.hosts and not is_address:
                    raise Refusal(
                        421,
                        f"This dashboard does not answer for the host {value[:200]!r}. "
                        "Open it as http://127.0.0.1, or add the name to LORA_ALLOWED_HOSTS.",
                    )

    def _check_origin(self, headers: Headers) -> None:
        # Another port of this machine is another site: the Origin must be this very address, or
        # exactly one that the person has allowed (a proxy in front may change the Host).
        schemes = {proto.strip().lower() for proto in headers.getlist("x-forwarded-proto")}
        for origin in headers.getlist("origin"):
            parts = urlsplit(origin)
            site = parts.netloc.lower()
            is_own = site == headers["host"].lower() or site in self.origins
            known = schemes or {"http", "https"}
            if parts.scheme not in known & {"http", "https"} or not is_own:
                raise Refusal(
                    403,
                    f"A page of {origin[:200]!r} may not use this dashboard. "
                    "Add its host, with its port, to LORA_ALLOWED_HOSTS if it should.",
                )
        elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if elsewhere and headers.get("sec-fetch-mode") != "navigate":
            raise Refusal(403, "Another site's page may not load parts of this dashboard.")

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            reason = refusal.sentence[:120]
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
            return
        headers = {**self.headers, "Connection": "close"}
        response = PlainTextResponse(refusal.sentence + "\n", refusal.status, headers)
        if refusal.status == 413:
            await _answer_and_take_the_rest(response, receive, send)
        else:
            await response(scope, receive, send)

    def _body_limit(self, scope: Scope) -> int:
        if without_prefix(scope["path"]) in UPLOAD_PATHS:
            return self.max_upload_bytes + MULTIPART_BYTES
        return min(MAX_BODY_BYTES, self.max_upload_bytes)


def _check_path(path: str) -> None:
    """Raise Refusal for an operation of Gradio's that is not used here."""
    for prefix in ("/gradio_api/", "/"):
        if path.startswith(prefix):
            operation = path.removeprefix(prefix)
            break
    if operation.startswith(("file=", "file/")):
        named = unquote(operation[5:]).lstrip("/ \t").lower()
        if "://" in named or named.startswith(("http:", "https:")):
            raise Refusal(403, "Files of other servers are not fetched through this one.")
        return
    if operation.startswith("proxy="):
        raise Refusal(403, "Requests are not passed on to other servers.")
    if path.startswith("/gradio_api/") and operation.split("/")[0] not in GRADIO_OPERATIONS:
        raise Refusal(404, "This part of Gradio is switched off here.")
    if path.startswith(("/monitoring", "/login", "/logout", "/svelte", "/pwa_icon")):
        raise Refusal(404, "This part of Gradio is switched off here.")


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"The request is larger than the {limit // MEGABYTE:,} MB allowed. "
        "Send a smaller file, or raise LORA_MAX_UPLOAD_MB.",
    )


async def _answer_and_take_the_rest(
    response: PlainTextResponse, receive: Receive, send: Send
) -> None:
    """Answer at once, and close only when some more of the body has been taken and thrown away.

    A proxy that is still sending meets a closed connection otherwise, and answers 502 itself.
    """
    start = {"status": response.status_code, "headers": response.raw_headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    taken = 0
    try:
        async with asyncio.timeout(THROWN_AWAY_S):
            while taken < THROWN_AWAY_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
    except TimeoutError:
        pass  # whoever sends so slowly meets a closed connection
    await send({"type": "http.response.body", "body": b""})


class _CountedBody:
    """The request's body, cut off as soon as it is longer than `limit` bytes.

    A chunked request has no Content-Length: only counting tells its size.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._seen = 0
        self.limit = limit
        self.too_large = False

    async def receive(self) -> Message:
        if self.too_large:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self.limit:
            self.too_large = True
            return {"type": "http.disconnect"}
        return message


class _GuardedAnswer:
    """The answer with the safety headers; nothing of it is sent once the body was too large."""

    def __init__(self, send: Send, body: _CountedBody, headers: Mapping[str, str]) -> None:
        self._send = send
        self._body = body
        self._headers = headers
        self.started = False

    async def send(self, message: Message) -> None:
        if self._body.too_large and not self.started:
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
        await self._send(message)
