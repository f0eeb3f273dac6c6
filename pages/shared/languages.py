"""The dashboard's languages in its addresses: English at `/train`, Chinese at `/zh/train`.

The dashboard is built once for each language. A person's address says which one they see. One
without a language's prefix leads on to the language that they chose with the switch in the bar, or
else to the one that their browser asks for. Knows no page's content and no text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora_engine.language import ENGLISH, LANGUAGES, language, preferred

CODES: Mapping[str, str] = {"en": "en", "zh": "zh-CN"}  # of HTML's lang, and of a browser
COOKIE = "rankscope_language"
VARY = "Accept-Language, Cookie"


def prefix_of(name: str) -> str:
    """What an address in a language begins with: '' or '/zh'."""
    return "" if name == ENGLISH else f"/{name}"


def in_language(path: str) -> str:
    """A page's path in the present language: '/train' -> '/zh/train'."""
    return prefix_of(language()) + path


def without_prefix(path: str) -> str:
    """The path that a language's dashboard sees: '/zh/train' -> '/train', '/zh' -> '/'."""
    for name in LANGUAGES:
        prefix = prefix_of(name)
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return path.removeprefix(prefix) or "/"
    return path


def of_request(scope: Scope) -> str:
    """The language of an address, or else that of who asks."""
    path = f"{scope['path']}/"
    for name in LANGUAGES:
        if name != ENGLISH and path.startswith(f"{prefix_of(name)}/"):
            return name
    return _wanted(Headers(scope=scope))


class LanguageRedirects:
    """ASGI middleware: a browser that opens a page is led to its language, and to `/zh/`.

    paths: those of the pages in English. Only a browser that asks for a page as HTML is led on; a
    script gets what it asks for.
    """

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self.app = app
        self.paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        target = self._other_address(scope)
        if target is None:
            await self.app(scope, receive, self._varying(scope, send))
            return
        query = scope["query_string"].decode("latin-1")
        headers = {"Vary": VARY, "Cache-Control": "no-store"}
        answer = RedirectResponse(f"{target}?{query}" if query else target, 302, headers)
        await answer(scope, receive, send)

    def _other_address(self, scope: Scope) -> str | None:
        """Where the request should go instead; None where it is right."""
        path = scope["path"]
        bare = without_prefix(path)
        prefix = path.removesuffix(bare) if bare != path else ""
        if path == prefix_of("zh"):
            return f"{path}/"
        if prefix and bare != "/" and bare.endswith("/") and bare.rstrip("/") in self.paths:
            return prefix + bare.rstrip("/")  # Gradio would leave the language
        if bare == path and self._is_page(scope):
            wanted = prefix_of(_wanted(Headers(scope=scope)))
            return wanted + path if wanted else None
        return None

    def _is_page(self, scope: Scope) -> bool:
        return scope["path"] in self.paths and "text/html" in Headers(scope=scope).get("accept", "")

    def _varying(self, scope: Scope, send: Send) -> Send:
        if not self._is_page(scope):
            return send

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header(VARY)
            await send(message)

        return send_varying


def _wanted(headers: Headers) -> str:
    """The language that was chosen, or else the one that the browser asks for."""
    try:
        chosen = SimpleCookie(headers.get("cookie", "")[:10_000]).get(COOKIE)
    except CookieError:
        chosen = None
    if chosen is not None and chosen.value in LANGUAGES:
        return chosen.value
    return preferred(headers.get("accept-language", ""))
