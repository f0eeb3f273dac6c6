"""A wrong address: a browser gets a page that leads on, and a script the app's own answer."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pages import PAGES
from pages.shared import static_files
from pages.shared.not_found import NotFoundPages

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "accept-language": "en"}
CHINESE = {**HTML, "accept-language": "zh-CN,zh;q=0.9"}


@pytest.fixture(scope="module")
def client() -> TestClient:
    async def there(request: Request) -> PlainTextResponse:
        return PlainTextResponse("there")

    async def missing(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "Not Found"}, 404)

    app = Starlette(routes=[Route("/there", there)], exception_handlers={404: missing})
    return TestClient(NotFoundPages(app), follow_redirects=False)


def test_a_browser_gets_a_page_with_its_status_that_leads_to_every_page(client: TestClient) -> None:
    answer = client.get("/nope", headers=HTML)

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "/nope" in answer.text
    led_to = set(re.findall(r'href="([^"]+)"', answer.text))
    assert {page.path for page in PAGES} <= led_to
    sheets = {one for one in led_to if one.endswith(".css")}
    assert sheets == {
        static_files.address(f"shared/{name}.css") for name in ("rankscope", "not_found")
    }


@pytest.mark.parametrize("headers", [{"accept": "application/json"}, {"accept": "*/*"}])
def test_a_script_keeps_the_apps_own_answer(client: TestClient, headers) -> None:
    assert client.get("/nope", headers=headers).json() == {"detail": "Not Found"}
    assert client.post("/nope", headers=HTML).json() == {"detail": "Not Found"}


def test_what_is_there_stays(client: TestClient) -> None:
    assert client.get("/there", headers=HTML).text == "there"


@pytest.mark.parametrize(("path", "headers"), [("/zh/nope", HTML), ("/nope", CHINESE)])
def test_it_speaks_the_language_of_the_address_or_of_the_browser(client, path, headers) -> None:
    answer = client.get(path, headers=headers)

    assert '<html lang="zh-CN">' in answer.text
    assert 'href="/zh/train"' in answer.text


def test_the_address_is_shown_as_text_and_cut(client: TestClient) -> None:
    answer = client.get("/<script>alert(1)</script>" + "x" * 3_000, headers=HTML)

    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "x" * 200 not in answer.text


@pytest.mark.parametrize(
    ("path", "target"),
    [("/calculator", "/"), ("/calculator/?d=8", "/?d=8"), ("/zh/calculator", "/zh/")],
)
def test_the_calculators_name_leads_to_it(client: TestClient, path: str, target: str) -> None:
    answer = client.get(path, headers=HTML)

    assert (answer.status_code, answer.headers["location"]) == (308, target)
