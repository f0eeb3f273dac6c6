"""Building a dashboard: while another one serves, when it is first asked for, and in a language.

Works around what Gradio keeps in one place for a whole process. Knows no page.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from pages.shared.languages import CODES

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send


class Later:
    """An ASGI app that is made in a thread when it is first asked for.

    Its own lifespan begins then, in the event loop that serves, and ends with `close`.
    """

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        self._make = make
        self._app: FastAPI | None = None
        self._making = asyncio.Lock()
        self._running = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = await self._made()
        await app(scope, receive, send)

    async def close(self) -> None:
        await self._running.aclose()

    async def _made(self) -> FastAPI:
        async with self._making:
            if self._app is None:
                app = await anyio.to_thread.run_sync(self._make)
                await self._running.enter_async_context(app.router.lifespan_context(app))
                self._app = app
            return self._app


@contextmanager
def one_app_for_all_pages() -> Iterator[None]:
    """Keep Gradio from making a FastAPI app for each Blocks while pages are built.

    It makes one as a Blocks is made and one each time it is left, 16 for five pages, which took
    most of the start; only the one that mount_gradio_app makes ever serves.
    """
    from gradio import blocks

    gradios_own = blocks.App
    setattr(blocks, "App", SimpleNamespace(create_app=lambda *_, **__: None))  # noqa: B010
    try:
        yield
    finally:
        setattr(blocks, "App", gradios_own)  # noqa: B010


def leave_undescribed(blocks: gr.Blocks) -> None:
    """Keep Gradio from describing a Blocks each time it is left and mounted, 16 times for seven
    pages: only what `describe` writes at the end is ever sent."""
    setattr(blocks, "get_config_file", dict)  # noqa: B010


def describe(dashboard: gr.Blocks) -> None:
    """Describe a mounted dashboard, as Gradio does it itself."""
    delattr(dashboard, "get_config_file")
    dashboard.config = dashboard.get_config_file()


NOTHING: Mapping[str, Any] = MappingProxyType({})
_built_here: ContextVar[Mapping[str, Any]] = ContextVar("built_here", default=NOTHING)


def _kept(name: str, opening: Any) -> property:
    """A property of a class that each thread has for itself."""

    def read(_: type) -> Any:
        return _built_here.get().get(name, opening)

    def write(_: type, value: Any) -> None:
        _built_here.set({**_built_here.get(), name: value})

    return property(read, write)


class _EachBuildsItsOwn(type):
    """What Gradio is building, for each thread: a part that a handler makes meanwhile, to say what
    changes on its page, would else become a part of what is built."""

    root_block = _kept("root_block", None)
    block = _kept("block", None)
    id = _kept("id", 0)


def let_threads_build() -> None:
    """Make Gradio keep apart what threads build at the same time; once is enough."""
    from gradio import context

    shared = context.Context
    if isinstance(shared, _EachBuildsItsOwn):
        return
    own = _EachBuildsItsOwn("Context", (), {"token": shared.token})
    for name, module in list(sys.modules.items()):
        if name.startswith("gradio") and vars(module).get("Context") is shared:
            setattr(module, "Context", own)  # noqa: B010


def write_page(head: Words, body: Words, end: str) -> None:
    """Let Gradio's page say the language of its dashboard: to readers, and to Gradio itself, whose
    own words ("Drop File Here") follow the browser's language. And let it bring, before Gradio
    starts, what `head` and `body` make for a language's code and a page's path; `end` follows
    Gradio's element. Raises RuntimeError where Gradio's template is another one.
    """
    from gradio.routes import templates
    from jinja2 import ChoiceLoader, DictLoader
    from markupsafe import Markup

    name = "frontend/index.html"
    loader = templates.env.loader
    if loader is None or isinstance(loader, ChoiceLoader):
        return
    source, _, _ = loader.get_source(templates.env, name)
    for place, more in _CHANGES.items():
        if source.count(place) != 1:
            raise RuntimeError("Gradio's page has changed: see pages/shared/building.py")
        source = source.replace(place, more)
    templates.env.loader = ChoiceLoader([DictLoader({name: source}), loader])
    templates.env.globals |= {
        "page_head": lambda code, path: Markup(head(code, path)),  # noqa: S704 - ours, escaped
        "page_body": lambda code, path: Markup(body(code, path)),  # noqa: S704
        "page_end": Markup(end),  # noqa: S704
    }


Words = Callable[[str, str], str]

_CHANGES = {
    'lang="en"': 'lang="{{ config.language }}"',
    '<meta charset="utf-8" />': '<meta charset="utf-8" />'
    '<script>Object.defineProperty(navigator, "language", '
    "{ get: () => {{ config.language | toorjson }} });</script>",
    "<script>window.gradio_config": "{{ page_head(config.language, config.current_page) }}"
    "<script>window.gradio_config",
    "<gradio-app": "{{ page_body(config.language, config.current_page) }}<gradio-app",
    "</gradio-app>": "</gradio-app>{{ page_end }}",
}


def speak(dashboard: gr.Blocks, language: str) -> None:
    """Write a dashboard's language into what `write_page` reads."""
    dashboard.config["language"] = CODES[language]  # type: ignore[typeddict-unknown-key]
