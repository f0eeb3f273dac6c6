"""What a browser gets at an address where nothing is: a page that says so and leads to every page.

Middleware around the whole app: where the app answers "not found" to a browser that asked for a
page, this page is sent in its place, with the same status. Anything else that asks (a script, a
client of the API) keeps the app's own answer. Needs no Gradio.
"""

from __future__ import annotations

from html import escape

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora_engine.language import speaking, tr
from pages import CALCULATOR, PAGES
from pages.shared.languages import in_language, of_request, without_prefix
from pages.shared.plain_page import plain_page_html

MOVED = {"/calculator": CALCULATOR.path}
"""Addresses that a person would try, and where the page is."""

SHOWN_CHARACTERS = 100


class NotFoundPages:
    """ASGI middleware; it stands inside the guard, which puts the safety headers on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        with speaking(of_request(scope)):
            path = without_prefix(scope["path"])
            if path.rstrip("/") in MOVED:
                query = scope["query_string"].decode("latin-1")
                target = in_language(MOVED[path.rstrip("/")])
                answer = RedirectResponse(f"{target}?{query}" if query else target, 308)
                await answer(scope, receive, send)
            elif "text/html" in Headers(scope=scope).get("accept", ""):
                await self._with_a_page(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    async def _with_a_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app's answer, or this page where that is "not found"."""
        is_missing = False

        async def send_found(message: Message) -> None:
            nonlocal is_missing
            if message["type"] == "http.response.start":
                is_missing = message["status"] == 404
            if not is_missing:
                await send(message)

        await self.app(scope, receive, send_found)
        if is_missing:
            page = HTMLResponse(not_found_html(scope["path"]), 404, {"Cache-Control": "no-store"})
            await page(scope, receive, send)


def not_found_html(path: str) -> str:
    """The page, in the present language; `path` is what was asked for, untrusted."""
    title = tr("There is no such page")
    shown = path if len(path) <= SHOWN_CHARACTERS else f"{path[:SHOWN_CHARACTERS]}…"
    words = tr("Nothing is at {path}. These are the pages:", path=shown)
    ways = "".join(
        f'<li><a href="{in_language(page.path)}"><b>{escape(tr(page.title))}</b> '
        f"<span>{escape(tr(page.purpose))}</span></a></li>"
        for page in PAGES
    )
    return plain_page_html(title, words, f"<ul>{ways}</ul>", "rs-missing")
