"""The gate: an ASGI middleware behind the guard that lets nobody in who has not said who they are.

A browser is led to the page where one signs in; anything else that asks gets a sentence and 401.
Who asks is written into the request and is the person of its work (`lora_engine.access`). Open to
all are /healthz, that page and its styles; the OpenAI API asks for its own key. Roles are held by
the engine: here it is only refused that somebody who may only look uploads a file.
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import anyio
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lora_engine.access import (
    BackOff,
    Forbidden,
    Person,
    Proxies,
    ProxyWay,
    Sessions,
    TokenWay,
    Way,
    acting_as,
    need_role,
    record,
)
from lora_engine.errors import EngineError
from lora_engine.language import speaking, tr, tr_count
from pages.access import cookies
from pages.access.gradio_sessions import GradioSessions
from pages.access.sign_in_page import SIGN_IN, SIGN_OUT, open_addresses, sign_in_html
from pages.shared.asking import PERSON_IN_SCOPE
from pages.shared.languages import in_language, of_request, without_prefix

HEALTH = "/healthz"
API = "/v1/"
UPLOAD = "/gradio_api/upload"
NO_STORE = {"Cache-Control": "no-store"}
MAX_FORM_BYTES = 10_000
CHECKED_AT_ONCE = 2  # an Argon2 hash takes 64 MiB


class Gate:
    """way: how people prove who they are. has_api: whether the OpenAI API is served."""

    def __init__(
        self,
        app: ASGIApp,
        way: Way,
        proxies: Proxies,
        sessions: Sessions,
        data_dir: Path,
        has_api: bool,
    ) -> None:
        self.app = app
        self.way = way
        self.proxies = proxies
        self.sessions = sessions
        self.data_dir = data_dir
        self.has_api = has_api
        self.back_off = BackOff(time.monotonic)
        self.gradio_sessions = GradioSessions()
        self._checking = anyio.CapacityLimiter(CHECKED_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        with speaking(of_request(scope)):
            try:
                answer = await self._own_answer(scope, receive)
                person = None if answer else self._person(scope)
            except EngineError as error:  # the people file was broken meanwhile
                answer, person = _plain(str(error), 503), None
            if person is None:
                await (answer or self._ask(scope))(scope, receive, send)
                return
            await self._go_on(person, scope, receive, send)

    async def _go_on(self, person: Person, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the person's request through to the app."""
        path = without_prefix(scope["path"])
        is_theirs, receive = await self.gradio_sessions.let_in(scope, path, receive, person.name)
        if not is_theirs:
            answer = _plain(tr("This session belongs to somebody else. Reload the page."), 403)
            await answer(scope, receive, send)
            return
        with acting_as(person):
            if path.rstrip("/") == UPLOAD:
                try:
                    need_role("run")
                except Forbidden as error:
                    await _plain(str(error), 403)(scope, receive, send)
                    return
            await self.app({**scope, PERSON_IN_SCOPE: person}, receive, send)

    def _is_open(self, path: str) -> bool:
        return path == HEALTH or (self.has_api and path.startswith(API)) or path in open_addresses()

    def _person(self, scope: Scope) -> Person | None:
        """Who asks, by their session, their token or what the proxy says; None for nobody."""
        headers, address = Headers(scope=scope), self._address(scope)
        if isinstance(self.way, ProxyWay):
            named = headers.getlist(self.way.header)
            is_proxys = self.proxies.trusts(_client(scope))
            if not is_proxys or len(named) != 1 or not 0 < len(named[0]) <= 200:
                return None
            return self.way.person(named[0], address)
        text = cookies.read_session(headers)
        if isinstance(self.way, TokenWay):
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer":
                return self._by_token(token.strip(), address)
            is_open = bool(text) and self.sessions.holds(text, self.way.token)
            return self.way.checked(self.way.token, address) if is_open else None
        name = self.sessions.read(text) if text else None
        listed = self.way.people.listed(name) if name else None
        if listed is None or not self.sessions.holds(text, listed.hash):
            return None
        return Person(listed.name, listed.role, address)

    async def _own_answer(self, scope: Scope, receive: Receive) -> Response | None:
        """The answer to what the gate itself is asked: to sign in or out."""
        path, method = without_prefix(scope["path"]), scope["method"]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if path == SIGN_OUT and method == "POST":
            return self._sign_out(scope)
        if path == SIGN_IN and method == "POST":
            return await self._sign_in(scope, receive)
        if path == SIGN_IN:
            return self._page(query.get("then", ""))
        if "token" in query and isinstance(self.way, TokenWay) and method == "GET":
            token = query.pop("token")
            then = scope["path"] + (f"?{urlencode(query)}" if query else "")
            return self._signed_in_by_token(scope, token, then)
        return None

    def _ask(self, scope: Scope) -> Response:
        """What somebody gets who has not said who they are."""
        is_page = "text/html" in Headers(scope=scope).get("accept", "")
        if scope["method"] in ("GET", "HEAD") and is_page:
            query = scope["query_string"].decode("latin-1")
            then = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(
                f"{in_language(SIGN_IN)}?{urlencode({'then': then})}", 302, NO_STORE
            )
        return _plain(tr("Sign in first, at {path}.", path=SIGN_IN), 401)

    async def _sign_in(self, scope: Scope, receive: Receive) -> Response:
        """The answer to the form. Raises EngineError where the people file cannot be read."""
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdigit() or int(length) > MAX_FORM_BYTES:
            return _plain(tr("This is no form of this page."), 413)
        body = await Request(scope, receive).body()
        said = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        then = said.get("then", "")
        if isinstance(self.way, TokenWay):
            return self._signed_in_by_token(scope, said.get("token", ""), then)
        if isinstance(self.way, ProxyWay):
            return self._page(then)
        name, address = said.get("name", "").strip(), self._address(scope)
        wait = self.back_off.wait_s(name, address)
        if wait > 0:
            return self._page(then, _wait_text(wait), name, 429)
        self.back_off.failed(name, address)  # until it is known better: tries at once count too
        person = await run_sync(
            self.way.people.checked, name, said.get("password", ""), address,
            limiter=self._checking,
        )  # fmt: skip
        listed = self.way.people.listed(name)
        if person is None or listed is None:
            record(self.data_dir, "sign in refused", name, person="nobody", address=address)
            return self._page(then, tr("This name and password do not go together."), name, 401)
        self.back_off.succeeded(name, address)
        return self._open(scope, person, listed.hash, then)

    def _signed_in_by_token(self, scope: Scope, token: str, then: str) -> Response:
        assert isinstance(self.way, TokenWay)
        address = self._address(scope)
        wait = self.back_off.wait_s("", address)
        if wait > 0:
            return self._page(then, _wait_text(wait), "", 429)
        person = self._by_token(token, address)
        if person is None:
            return self._page(then, tr("This is not the token of this dashboard."), "", 401)
        return self._open(scope, person, self.way.token, then)

    def _by_token(self, token: str, address: str) -> Person | None:
        """Whoever has the token; a wrong one counts, and none is taken while one has to wait."""
        assert isinstance(self.way, TokenWay)
        if self.back_off.wait_s("", address) > 0:
            return None
        person = self.way.checked(token, address)
        if person is None:
            self.back_off.failed(f"token of {address}", address)
            record(self.data_dir, "sign in refused", "token", person="nobody", address=address)
        return person

    def _open(self, scope: Scope, person: Person, proof: str, then: str) -> Response:
        """Open a session and lead on, to an address without the token."""
        record(self.data_dir, "sign in", "", person=person.name, address=person.address)
        answer = RedirectResponse(_local(then), 303, NO_STORE)
        headers, lifetime_s = Headers(scope=scope), self.sessions.lifetime_s
        text = self.sessions.open(person.name, proof)
        is_https = self._is_https(scope)
        cookies.set_session(answer, headers, text, person.name, lifetime_s, is_https)
        return answer

    def _sign_out(self, scope: Scope) -> Response:
        headers = Headers(scope=scope)
        text = cookies.read_session(headers)
        name = self.sessions.read(text) if text else None
        if name:
            record(self.data_dir, "sign out", "", person=name, address=self._address(scope))
            self.sessions.end(text)
        answer = RedirectResponse(in_language(SIGN_IN), 303, NO_STORE)
        cookies.end_session(answer, headers)
        return answer

    def _page(self, then: str, problem: str = "", name: str = "", status: int = 200) -> Response:
        page = sign_in_html(self.way, problem, name[:64], _local(then))
        return HTMLResponse(page, status, NO_STORE)

    def _address(self, scope: Scope) -> str:
        """Where the person is, as far as trusted proxies tell."""
        forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
        return self.proxies.origin(_client(scope), forwarded)

    def _is_https(self, scope: Scope) -> bool:
        said = Headers(scope=scope).get("x-forwarded-proto", "")
        return self.proxies.trusts(_client(scope)) and said.lower() == "https"


def _client(scope: Scope) -> str:
    """The address at the other end of the connection."""
    return scope["client"][0] if scope.get("client") else "unknown"


def _local(then: str) -> str:
    """The address to lead on to, if it is one of this dashboard; else its first page."""
    parts = urlsplit(then) if then.isascii() and then.isprintable() and "\\" not in then else None
    is_local = parts is not None and not (parts.scheme or parts.netloc) and then[:1] == "/"
    is_page = is_local and then[:2] != "//" and without_prefix(then) not in (SIGN_IN, SIGN_OUT)
    return then[:2_000] if is_page else in_language("/")


def _wait_text(wait_s: float) -> str:
    seconds = int(wait_s) + 1
    return tr_count(
        "Too many tries have failed. Try again in {count} second.",
        "Too many tries have failed. Try again in {count} seconds.",
        seconds,
    )


def _plain(sentence: str, status: int) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, NO_STORE)
