"""The dashboard: builds every page, mounts them in FastAPI behind the guard, serves them.

`import app` is light: gradio and the pages load inside `create_app`, after the environment that
keeps them quiet is set.
"""

from __future__ import annotations

import argparse
import functools
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from lora_engine.address import address_help, chosen_address, link_to, listen
from lora_engine.environment import language_named, load_settings
from lora_engine.errors import EngineError
from lora_engine.language import ENGLISH, LANGUAGES, speaking, tr
from lora_engine.library_imports import uncollected
from lora_engine.log_file import write_log
from lora_engine.scrubbing import scrub_output
from lora_engine.settings import Settings

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from lora_engine.access import Way
    from lora_engine.engine import Engine
    from lora_engine.serve.routes import Api
    from pages.shared.building import Later
    from pages.spectrum.matrix_cache import MatrixCache


def create_app(
    settings: Settings, bound_host: str = "127.0.0.1", way: Way | None = None
) -> FastAPI:
    """The whole dashboard as an ASGI app: pages at their paths, /healthz, the static files.

    bound_host: the address it is served on, which may then stand in Host. way: how people prove
    who they are, where they are asked. The engine's supervisor runs from the app's start to its
    stop.
    """
    from pages.shared import building, first_screen, languages, quiet_gradio, security, uploads

    quiet_gradio.quiet_environment(settings.data_dir)

    from lora_engine.engine import Engine
    from pages.spectrum.matrix_cache import MatrixCache

    quiet_gradio.refuse_outside_downloads()
    uploads.delete_what_is_cut_off()
    engine = Engine(settings)
    cache = MatrixCache(settings.max_matrices_mb * security.MEGABYTE)
    api = _api(engine)
    building.let_threads_build()
    building.write_page(first_screen.head, first_screen.body, first_screen.end())
    others = {
        name: building.Later(functools.partial(_dashboard_app, engine, cache, name))
        for name in LANGUAGES
        if name != ENGLISH
    }
    app = _guarded_app(engine, api, bound_host, way, list(others.values()))
    _add_static_routes(app)
    if api is not None:
        api.add_routes(app)
    _add_page_routes(app, engine, cache)
    # Gradio warns that an app of several pages has no server-side rendering, asked for or not.
    warnings.filterwarnings("ignore", message="SSR mode is not supported")
    for name, other in others.items():
        app.mount(languages.prefix_of(name), other)
    _add_dashboard(app, engine, cache, ENGLISH)
    return app


def _dashboard_app(engine: Engine, cache: MatrixCache, name: str) -> FastAPI:
    """The dashboard in a language as an app of its own."""
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_dashboard(app, engine, cache, name)
    return app


def _add_dashboard(app: FastAPI, engine: Engine, cache: MatrixCache, name: str) -> None:
    """Build the dashboard in a language and put it at the app's root."""
    from pages.shared import building, gradio_errors

    with speaking(name), building.one_app_for_all_pages():
        dashboard = build_dashboard(engine, cache)
        _mount(app, dashboard, engine.settings)
    building.speak(dashboard, name)
    gradio_errors.say_errors(dashboard, name)


def _api(engine: Engine) -> Api | None:
    """The OpenAI-compatible API, where a key switches it on. Raises as `Api`."""
    if engine.settings.api_key_file is None:
        return None
    from lora_engine.serve.routes import Api

    return Api(engine.settings, engine.compare, engine.adapters)


def _guarded_app(
    engine: Engine, api: Api | None, bound_host: str, way: Way | None, others: Sequence[Later]
) -> FastAPI:
    """An app that starts and stops with the engine, behind the guard and the gate.

    others: the dashboards in other languages, which stop before it.
    """
    from fastapi import FastAPI

    from pages import PAGES
    from pages.settings import SETTINGS
    from pages.shared import languages, not_found, security, uploads

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            for other in others:
                await other.close()
            if api is not None:
                api.close()
            engine.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(uploads.UploadRoom, settings=engine.settings)
    app.add_middleware(not_found.NotFoundPages)
    paths = [page.path for page in (*PAGES, SETTINGS)]
    app.add_middleware(languages.LanguageRedirects, paths=paths)
    if way is not None:
        _add_gate(app, way, engine.settings)
    app.add_middleware(
        security.Guard,
        allowed_hosts=engine.settings.allowed_hosts,
        bound_host=bound_host,
        max_upload_mb=engine.settings.max_upload_mb,
        any_address=way is not None and bound_host in security.WILDCARD_HOSTS,
        frame_ancestors=engine.settings.frame_ancestors,
    )
    return app


def _add_gate(app: FastAPI, way: Way, settings: Settings) -> None:
    """Let nobody in who has not said who they are."""
    from lora_engine.access import Proxies, Sessions
    from pages.access import Gate

    app.add_middleware(
        Gate,
        way=way,
        proxies=Proxies(settings.trusted_proxies),
        sessions=Sessions(settings.session_hours * 3_600),
        data_dir=settings.data_dir,
        has_api=settings.api_key_file is not None,
    )


def _mount(app: FastAPI, dashboard: gr.Blocks, settings: Settings) -> None:
    """Put the pages at their paths."""
    import gradio as gr

    from pages.shared import building, security, sessions, static_files
    from pages.shared.theme import theme

    gr.mount_gradio_app(
        app,
        dashboard,
        path="/",
        theme=theme(),
        favicon_path=str(static_files.FAVICON),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=True,
        max_file_size=settings.max_upload_mb * security.MEGABYTE,
        app_kwargs={"openapi_url": None},
    )
    building.describe(dashboard)
    dashboard.app = app.routes[-1].app  # type: ignore[attr-defined]  # the mount just made
    # Mounted, a dashboard never counts as launched, and until then Gradio copies any file of this
    # machine that a request names into its cache, as if it had been uploaded.
    dashboard.has_launched = True
    sessions.bound_sessions(dashboard)


def build_dashboard(engine: Engine, cache: MatrixCache) -> gr.Blocks:
    """All pages in one Blocks, each at its own route.

    Every page is built before the outer Blocks is entered: built inside, Gradio draws it twice
    and one copy is dead.
    """
    import gradio as gr

    from pages import (
        ADAPTERS,
        CALCULATOR,
        COMPARE,
        LEARN,
        RUNS,
        SPECTRUM,
        TRAIN,
        adapters,
        calculator,
        compare,
        learn,
        runs,
        spectrum,
        train,
    )
    from pages.shared import building, quiet_gradio

    first = calculator.build(engine)
    others = [
        (LEARN, learn.build(engine)),
        (SPECTRUM, spectrum.build(engine, cache)),
        (TRAIN, train.build(engine)),
        (RUNS, runs.build(engine)),
        (COMPARE, compare.build(engine)),
        (ADAPTERS, adapters.build(engine)),
    ]
    kept_s = quiet_gradio.UPLOADS_KEPT_S
    with gr.Blocks(
        title=f"{tr(CALCULATOR.title)} · Rankscope",
        analytics_enabled=False,
        delete_cache=(kept_s, kept_s),
    ) as dashboard:
        building.leave_undescribed(dashboard)
        first.render()
    for page, blocks in others:
        with dashboard.route(tr(page.title), page.path):
            blocks.render()
    _order_bar(dashboard)
    return dashboard


def _order_bar(dashboard: gr.Blocks) -> None:
    """Put the pages into the bar in their order; Gradio begins with the one at `/`, as Home."""
    from pages import CALCULATOR, PAGES

    order = [page.path.strip("/") for page in PAGES]
    dashboard.pages[0] = ("", tr(CALCULATOR.title), True)
    dashboard.pages.sort(key=lambda listed: order.index(listed[0]))


def _add_static_routes(app: FastAPI) -> None:
    """/healthz, and the static files of every page."""
    from fastapi.responses import PlainTextResponse

    from pages.shared import static_files

    @app.get("/healthz")
    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    static_files.add_route(app)


def _add_page_routes(app: FastAPI, engine: Engine, cache: MatrixCache) -> None:
    """What the pages ask for besides Gradio's events."""
    from pages.adapters.routes import add_routes as add_adapter_routes
    from pages.compare.routes import add_routes as add_compare_routes
    from pages.runs.watching import add_routes as add_watching_routes
    from pages.settings import add_routes as add_settings_routes
    from pages.spectrum.routes import add_routes as add_spectrum_routes

    add_spectrum_routes(app, cache)
    add_compare_routes(app, engine.compare.sessions)
    add_adapter_routes(app, engine)
    add_settings_routes(app, engine, lambda: cache.bytes)
    add_watching_routes(app, engine)


class _Arguments(argparse.ArgumentParser):
    """A parser that refuses as the engine does: what is wrong, and what to do."""

    def error(self, message: str) -> NoReturn:
        raise EngineError(
            f"{message[:1].upper()}{message[1:]}.",
            tr("`python app.py --help` lists what is allowed."),
        )


def parse_address(arguments: Sequence[str]) -> tuple[str, int]:
    """Host and port: from the command line, else from HOST and PORT, else the usual ones.

    Raises EngineError for an argument that is not known or has a wrong value; --help ends here.
    """
    parser = _Arguments(
        prog="app.py",
        description=tr("Serve the Rankscope dashboard until it is interrupted."),
        epilog=tr("Settings come from the environment; `python -m lora_engine doctor` lists them."),
        allow_abbrev=False,
    )
    parser.add_argument("--host", help=address_help("host"), metavar="HOST")
    parser.add_argument("--port", help=address_help("port"), metavar="PORT")
    given = vars(parser.parse_args(arguments))
    return chosen_address(given["host"], given["port"])


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted. Returns the exit code: 2 for a problem the person can solve."""
    scrub_output()
    try:
        with speaking(language_named()), uncollected():
            app, listener = _opened(arguments)
    except EngineError as error:
        print(f"error: {error.problem}\n{error.remedy}", file=sys.stderr)
        return 2
    _serve(app, listener)
    return 0


def _opened(arguments: Sequence[str]) -> tuple[FastAPI, socket.socket]:
    """The dashboard and the socket it is served on; says where. Raises EngineError."""
    from lora_engine.access import TokenWay, way_in

    host, port = parse_address(arguments)
    settings = load_settings()
    write_log(settings)
    way = way_in(settings, host)
    listener = listen(host, port)
    app = create_app(settings, host, way)
    address = link_to(host, listener.getsockname()[1])
    if settings.api_key_file is not None:
        base = settings.api_base
        print(tr("The API of {base} is at {address}/v1", base=base, address=address), flush=True)
    made = way.token if isinstance(way, TokenWay) and way.is_made else None
    link = f"{address}/?token={made}" if made else address
    print(tr("Rankscope is at {address} (Ctrl+C stops it)", address=link), flush=True)
    if made:
        said = tr(
            "Whoever has this link may do everything here. From another machine, put the address "
            "of this one in place of {host}.",
            host=urlsplit(address).hostname,
        )
        print(said, flush=True)
    return app, listener


def _serve(app: FastAPI, listener: socket.socket) -> None:
    import uvicorn

    # Named, because uvicorn would pick another loop and parser where a tracker brought them along.
    config = uvicorn.Config(
        app, loop="asyncio", http="h11", ws="none", log_config=None, access_log=False,
        proxy_headers=False, server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
