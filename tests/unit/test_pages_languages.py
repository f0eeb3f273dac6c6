"""Languages in addresses: who is led where, and what stays as it is."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr  # noqa: TID251
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lora_engine.errors import EngineError
from lora_engine.language import LANGUAGES, language, speaking, tr
from pages import PAGES, RUNS, TRAIN
from pages.shared import building, layout, static_files
from pages.shared.background_work import BackgroundWork, TabTask
from pages.shared.languages import CODES, LanguageRedirects, in_language, without_prefix
from pages.shared.wiring import expose, problem_box, wire

pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
BROWSER = {"accept": "text/html,application/xhtml+xml", "accept-language": "zh-CN,zh;q=0.9"}


@pytest.fixture(scope="module")
def client() -> TestClient:
    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    routes = [Route("/{path:path}", echo, methods=["GET", "POST"])]
    led = LanguageRedirects(Starlette(routes=routes), [page.path for page in PAGES])
    return TestClient(led, follow_redirects=False)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/zh/"),
        ("/train?rank=8&a=%E7%A7%A9", "/zh/train?rank=8&a=%E7%A7%A9"),
        ("/zh", "/zh/"),
        ("/zh?d=8", "/zh/?d=8"),
        ("/zh/runs/?run=a", "/zh/runs?run=a"),
    ],
)
def test_a_chinese_browser_is_led_to_the_chinese_page(client: TestClient, path, target) -> None:
    answer = client.get(path, headers=BROWSER)

    assert (answer.status_code, answer.headers["location"]) == (302, target)
    assert answer.headers["vary"] == "Accept-Language, Cookie"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"accept-language": "en-US"}),
        ("/", {"cookie": "rankscope_language=en"}),
        ("/", {"accept": "*/*"}),
        ("/", {"accept": "application/json"}),
        ("/zh/train", {"accept-language": "en"}),
        ("/zh/train", {"cookie": "rankscope_language=en"}),
        ("/zh/", {}),
        ("/healthz", {}),
        ("/gradio_api/info", {}),
        ("/zh/gradio_api/info", {}),
        ("/zhuang", {}),
        ("/zh//evil.example/", {}),
    ],
)
def test_everything_else_is_answered(client: TestClient, path, headers) -> None:
    assert client.get(path, headers={**BROWSER, **headers}).status_code == 200


def test_the_choice_decides_and_the_header_no_more(client: TestClient) -> None:
    english = {**BROWSER, "accept-language": "en"}
    chosen = client.get("/runs", headers={**english, "cookie": "a=b; rankscope_language=zh"})
    unknown = client.get("/runs", headers={**english, "cookie": "rankscope_language=xx"})
    broken = client.get("/runs", headers={**english, "cookie": "=;\x01;rankscope_language"})

    assert chosen.headers["location"] == "/zh/runs"
    assert unknown.status_code == broken.status_code == 200
    assert unknown.headers["vary"] == "Accept-Language, Cookie"


def test_nothing_is_led_elsewhere_that_changes_something(client: TestClient) -> None:
    assert client.post("/train", headers=BROWSER).status_code == 200


@pytest.mark.parametrize(
    ("path", "bare"),
    [("/zh", "/"), ("/zh/", "/"), ("/zh/a/b", "/a/b"), ("/zha", "/zha"), ("/zh/zh/a", "/zh/a")],
)
def test_one_prefix_is_taken_off(path: str, bare: str) -> None:
    assert without_prefix(path) == bare


def test_links_stay_in_the_language() -> None:
    assert layout.link(TRAIN, rank=8) == "/train?rank=8"
    with speaking("zh"):
        assert layout.link(TRAIN, rank=8) == in_language("/train?rank=8") == "/zh/train?rank=8"
    assert CODES.keys() == LANGUAGES.keys()


def test_the_head_brings_what_scripts_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_files, "javascript_texts", lambda: ("Spectrum", "no text of ours"))
    with speaking("zh"):
        head = static_files.head(TRAIN)

    (said,) = re.findall(r'id="rs-messages">(.*?)</script>', head)
    assert json.loads(said) == {"Spectrum": "谱分析"}
    assert static_files.address("train/train.css") in head
    assert "rs-messages" not in static_files.head(TRAIN)


def test_handlers_and_scripts_are_answered_in_the_language_of_their_dashboard() -> None:
    def refuse() -> str:
        raise EngineError(tr("Spectrum"), "")

    def stream():
        yield language()
        yield language()
        refuse()

    with speaking("zh"), gr.Blocks() as blocks:
        button, out, problem = gr.Button(), gr.Textbox(interactive=False), problem_box()
        wire([button.click], refuse, [], [out], problem=problem)
        wire([button.click], stream, [], [out], problem=problem)
        expose(refuse, "refuse")
    answered, streamed, exposed = blocks.fns.values()

    assert json.loads(answered.fn()[problem])["problem"] == "谱分析"
    *steps, failed = streamed.fn()
    assert [step[out] for step in steps] == ["zh", "zh"]
    assert json.loads(failed[problem])["problem"] == "谱分析"
    with pytest.raises(gr.Error, match="谱分析"):
        exposed.fn()
    assert language() == "en"


def test_a_stream_that_is_left_closes_its_handler_in_its_language() -> None:
    closed: list[str] = []

    def stream():
        try:
            yield "first"
        finally:
            closed.append(language())

    with speaking("zh"), gr.Blocks() as blocks:
        button, out = gr.Button(), gr.Textbox(interactive=False)
        wire([button.click], stream, [], [out], problem=problem_box())
    (event,) = blocks.fns.values()

    running = event.fn()
    next(running)
    running.close()

    assert closed == ["zh"]


def test_work_in_a_thread_speaks_the_language_of_who_started_it() -> None:
    with speaking("zh"), BackgroundWork(TabTask(), lambda _, __: language()) as running:
        list(running.progress())
        assert running.result() == "zh"


def test_what_a_handler_makes_is_no_part_of_what_another_thread_builds() -> None:
    building.let_threads_build()
    with gr.Blocks() as blocks:
        one = gr.Textbox()
        thread = threading.Thread(target=lambda: gr.Column(visible=False))
        thread.start()
        thread.join()
        other = gr.Textbox()

    assert not any(isinstance(part, gr.Column) for part in blocks.blocks.values())
    assert {one._id, other._id} <= blocks.blocks.keys()


def test_a_dashboard_is_described_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[gr.Blocks] = []
    gradios_own = gr.Blocks.get_config_file

    def get_config_file(self: gr.Blocks) -> Any:
        described.append(self)
        return gradios_own(self)

    monkeypatch.setattr(gr.Blocks, "get_config_file", get_config_file)
    with building.one_app_for_all_pages():
        with layout.shell(RUNS) as page:
            field = gr.Textbox()
        with gr.Blocks() as dashboard:
            building.leave_undescribed(dashboard)
            gr.Markdown()
        with dashboard.route("Runs", "/runs"):
            page.render()
    assert described == []

    building.describe(dashboard)

    assert described == [dashboard]
    assert field._id in dashboard.config["page"]["runs"]["components"]


def test_an_app_is_made_when_it_is_first_asked_for_and_lives_until_it_is_closed() -> None:
    lived: list[str] = []

    def make() -> FastAPI:
        lived.append("made")

        @asynccontextmanager
        async def life(_: FastAPI) -> AsyncIterator[None]:
            lived.append("started")
            yield
            lived.append("stopped")

        app = FastAPI(lifespan=life)
        app.add_api_route("/", lambda: "here")
        return app

    later = building.Later(make)
    outer = FastAPI()
    outer.mount("/zh", later)
    outer.add_api_route("/close", later.close)
    with TestClient(outer) as client:
        assert lived == []
        assert [client.get("/zh/").json() for _ in range(2)] == ["here", "here"]
        assert lived == ["made", "started"]
        client.get("/close")

    assert lived == ["made", "started", "stopped"]
