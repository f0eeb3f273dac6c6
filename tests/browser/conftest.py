"""A real server and a real browser, and the promise that no request leaves the machine.

The server is `python app.py` as a process of its own, on a free port and a data folder of the
test's; one that a file starts for itself is the same as a fork of a process that has imported it
all. Every request of every page is recorded: one that goes anywhere else fails the test.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.browser.forked_server import ForkedProcess, ForkingProcess

ROOT = Path(__file__).parents[2]
START_S = 180
SETTLE_S = 10
ANSWER_MS = 30_000  # two cores shared with a training run
INSTALLED = ("chromium", "chromium-browser", "google-chrome")

expect.set_options(timeout=ANSWER_MS)


@dataclass
class Server:
    """A running dashboard. `process` is for tests that kill it."""

    url: str
    data_dir: Path
    process: subprocess.Popen | ForkedProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all files: for tests that mind no run, set or adapter of another's."""
    started = _serve(tmp_path_factory.mktemp("data"), {}, _python_app)
    yield started
    _stop(started.process)


@pytest.fixture(scope="session")
def forking_process() -> Iterator[ForkingProcess]:
    process = ForkingProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def start_server(
    tmp_path_factory: pytest.TempPathFactory, forking_process: ForkingProcess
) -> Iterator[Callable[..., Server]]:
    """Start one for a file alone: `start_server()`, `start_server(data_dir)` on an old folder."""
    servers: list[Server] = []

    def start(data_dir: Path | None = None, **environment: str) -> Server:
        folder = data_dir or tmp_path_factory.mktemp("data")
        # huggingface_hub reads its own variables when it is imported: a fork comes too late
        is_forked = not any(name.startswith("HF_") for name in environment)
        servers.append(
            _serve(folder, environment, forking_process.start if is_forked else _python_app)
        )
        return servers[-1]

    yield start
    for server in servers:
        _stop(server.process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The installed Chromium, else Playwright's own.

    Closed with each file: while it is open its event loop runs, and no other test may have one.
    """
    found = next((path for path in map(shutil.which, INSTALLED) if path), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def wait_until_it_fits(page: Page, width: int) -> None:
    """Fails where the page stays wider than this and has to be scrolled sideways."""
    page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)


@dataclass
class Traffic:
    """What the pages of one test asked for and complained about. asked: by their scripts alone,
    without the files that a page loads as it comes to need them."""

    requests: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def note(self, request: Request) -> None:
        self.requests.append(request.url)
        if request.resource_type in ("fetch", "xhr") and "/heartbeat/" not in request.url:
            self.asked.append(request.url)

    @property
    def outside(self) -> list[str]:
        """Addresses on other machines."""
        local = ("127.0.0.1", "localhost", None)
        return [url for url in self.requests if urlsplit(url).hostname not in local]


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def open_page(browser: Browser, traffic: Traffic) -> Iterator[Callable[..., Page]]:
    """Open an address in a window of its own: `open_page(url, width=390, dark=True)`.

    At the end no request of any window may have left the machine and no script have failed.
    """
    pages: list[Page] = []

    def opened(url: str, *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        scheme = "dark" if dark else "light"
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            accept_downloads=True,
            reduced_motion="reduce",
        )
        page.set_default_timeout(ANSWER_MS)
        page.on("request", traffic.note)
        page.on("pageerror", lambda error: traffic.complaints.append(str(error)))
        page.on("console", lambda message: _note(message, traffic))
        pages.append(page)
        calls = _Calls(page)
        page.goto(url)
        expect(page.locator(".rs-header h1")).to_be_visible()
        calls.wait_until_answered()
        return page

    yield opened
    for page in pages:
        page.close()
    assert traffic.outside == []
    assert traffic.complaints == []


class _Calls:
    """The calls a page makes to the engine: what it asks on opening fills its fields, so a test
    that types before the answer would find its words replaced."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._asked = 0
        self._open: set[Request] = set()
        page.on("request", self._started)
        page.on("requestfinished", self._ended)
        page.on("requestfailed", self._ended)

    def wait_until_answered(self) -> None:
        # Gradio's client now and then opens a stream after its events have ended, and keeps it.
        deadline = time.monotonic() + SETTLE_S
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline:
            self._page.wait_for_timeout(50)
            quiet = quiet + 1 if self._asked and not self._open else 0

    def _started(self, request: Request) -> None:
        if "/gradio_api/" in request.url and "heartbeat" not in request.url:
            self._asked += 1
            self._open.add(request)

    def _ended(self, request: Request) -> None:
        self._open.discard(request)


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Page, str], Path]:
    """Take a picture of the whole page; RANKSCOPE_PICTURES names a folder to keep them in."""
    folder = Path(os.environ.get("RANKSCOPE_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> Path:
        path = folder / f"{name}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return take


def _note(message, traffic: Traffic) -> None:
    # A page that is left cuts its own connections, which Gradio's client calls an error.
    aborted = ("AbortError", "Connection errored out", "ERR_ABORTED", "Failed to fetch")
    if message.type == "error" and not any(word in message.text for word in aborted):
        traffic.complaints.append(message.text)


Start = Callable[[dict[str, str], Path], subprocess.Popen | ForkedProcess]


def _serve(data_dir: Path, environment: dict[str, str], start: Start) -> Server:
    """Start the dashboard and wait until it answers."""
    port = _free_port()
    log = data_dir / "server.log"
    process = start(
        {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "LORA_DATA_DIR": str(data_dir),
            "LORA_DEVICE": "cpu",
            "HF_HUB_OFFLINE": "1",
            **environment,
        },
        log,
    )
    server = Server(f"http://127.0.0.1:{port}", data_dir, process)
    deadline = time.monotonic() + START_S
    while not _answers(server.url):
        if process.poll() is not None or time.monotonic() > deadline:
            _stop(process)
            pytest.fail(f"The server did not start:\n{log.read_text('utf-8')}")
        time.sleep(0.1)
    return server


def _python_app(environment: dict[str, str], log: Path) -> subprocess.Popen:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def _stop(process: subprocess.Popen | ForkedProcess) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
