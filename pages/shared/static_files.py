"""The pages' JavaScript, styles and icon: their addresses, and the route that serves them.

The folder `static` of a package of `pages` is served under `/rankscope/<version>/<package>/`. The
version is one hash of all these files: a module reaches another by a relative import and so gets
the same version, and a browser may keep every file for ever. This module knows no page and no
component: it makes addresses, tags, and the short JavaScript that imports a module.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.language import ENGLISH, language, tr

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pages import Page

PAGES = Path(__file__).parents[1]
ROOT = "/rankscope"
FAVICON = PAGES / "shared" / "static" / "favicon.svg"
PLOTLY = "plotly.min.js"
GRADIO_NAMES = "shared/gradio_names.js"
CACHE_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
# Browsers refuse a module of another type, and Python asks the machine for its idea of one.
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

JAVASCRIPT_TEXT = re.compile(r'\btr\(\s*("(?:[^"\\\n]|\\.)*")')


@cache
def files() -> dict[str, Path]:
    """Every static file by its name, as `shared/plot.js`."""
    found = sorted(path for path in PAGES.glob("*/static/*") if path.suffix in MEDIA_TYPES)
    return {f"{path.parents[1].name}/{path.name}": path for path in found}


@cache
def version() -> str:
    """Twelve hex digits of the content of all static files, and of plotly's version."""
    digest = hashlib.sha256(installed_version("plotly").encode())
    for name, path in files().items():
        content = path.read_bytes()
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def address(name: str) -> str:
    """Where a browser finds a static file. Raises KeyError where there is no such file."""
    if name not in files():
        raise KeyError(f"no static file {name!r}; there are {', '.join(files())}")
    return f"{ROOT}/{version()}/{name}"


def call_js(module: str, function: str, *arguments: Any) -> str:
    """The `js_on_load` of a gr.HTML that is drawn by a function of a module.

    The module exports it as `function(element, props, watch, trigger, ...arguments)`; the
    arguments are what JSON can hold. `trigger("input")` there calls what `.input(handler)` bound.
    """
    given = "".join(f", {json.dumps(argument)}" for argument in arguments)
    call = f"module.{function}(element, props, watch, trigger{given})"
    return f'import("{address(module)}").then((module) => {call});'


def event_js(module: str, function: str, *arguments: Any) -> str:
    """The `js` of an event: calls `function(...arguments, ...inputs)` of a module."""
    given = "".join(f"{json.dumps(argument)}, " for argument in arguments)
    return f'async (...inputs) => (await import("{address(module)}")).{function}({given}...inputs)'


def head(page: Page) -> str:
    """The tags in the head of a page, before Gradio's own.

    Its styles and the shared modules are fetched while Gradio starts, so that nothing is drawn
    late.
    """
    shared = [name for name in files() if name.startswith("shared/") and name.endswith(".js")]
    sheets = [address("shared/rankscope.css"), *_stylesheets(page.package)]
    run = ["shared/choices.js", "shared/toasts.js", GRADIO_NAMES]
    if language() == ENGLISH:  # Gradio's own
        for names in (shared, run):
            names.remove(GRADIO_NAMES)
    return "".join(
        [
            *(f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets),
            '<link rel="icon" type="image/svg+xml" href="/favicon.ico">',
            _messages(),
            *(f'<link rel="modulepreload" href="{address(name)}">' for name in shared),
            *(f'<script type="module" src="{address(name)}"></script>' for name in run),
        ]
    )


def _messages() -> str:
    """What the scripts say, by its English, for `language.js`; nothing in English."""
    texts = {text: tr(text) for text in javascript_texts()}
    said = {text: other for text, other in texts.items() if other != text}
    as_json = json.dumps(said, ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="rs-messages">{as_json}</script>' if said else ""


@cache
def javascript_texts() -> tuple[str, ...]:
    """The English texts of all scripts: double-quoted literals within `tr(…)`."""
    scripts = [path for name, path in files().items() if name.endswith(".js")]
    found = [JAVASCRIPT_TEXT.findall(path.read_text("utf-8")) for path in scripts]
    return tuple(dict.fromkeys(json.loads(text) for texts in found for text in texts))


def add_route(app: FastAPI) -> None:
    """Serve the files of this version; another version's addresses are not found."""
    from fastapi.responses import FileResponse, PlainTextResponse, Response

    @app.get(f"{ROOT}/{version()}/{PLOTLY}")
    def plotly() -> Response:
        return FileResponse(plotly_path(), headers=CACHE_FOR_EVER, media_type=MEDIA_TYPES[".js"])

    @app.get(f"{ROOT}/{version()}/{{package}}/{{name}}")
    def static_file(package: str, name: str) -> Response:
        path = files().get(f"{package}/{name}")
        if path is None:
            return PlainTextResponse("There is no such file.\n", 404)
        return FileResponse(path, headers=CACHE_FOR_EVER, media_type=MEDIA_TYPES[path.suffix])


@cache
def plotly_path() -> Path:
    """plotly.min.js of the installed plotly package, which is not imported for it."""
    package = importlib.util.find_spec("plotly")
    if package is None or package.origin is None:
        raise RuntimeError("plotly is not installed; run `make run`, which installs it")
    return Path(package.origin).parent / "package_data" / PLOTLY


def _stylesheets(package: str) -> list[str]:
    own = [name for name in files() if name.startswith(f"{package}/") and name.endswith(".css")]
    return [address(name) for name in own]
