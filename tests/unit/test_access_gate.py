"""The gate in front of every page: who is let in, by what, and what the others get."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lora_engine.access import (
    Proxies,
    Sessions,
    Way,
    add_person,
    person_now,
    remove_person,
    way_in,
)
from lora_engine.environment import load_settings
from pages.access import Gate
from pages.access.sign_in_page import open_addresses
from pages.shared.asking import PERSON_IN_SCOPE
from pages.shared.security import Guard

HOST = "lab.example:7860"
PASSWORD = "correct horse battery"
HTML = {"accept": "text/html"}
WAYS_TO_GRADIO = [
    "/", "/zh/", "/runs", "/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=a",
    "/gradio_api/heartbeat/a", "/gradio_api/file=/etc/passwd", "/static/x.js", "/v1x", "/healthz/",
    "/zh/healthz", "//healthz", "/rankscope/x/shared/plot.js", "/v1/../config",
]  # fmt: skip


async def _who(request: Request) -> JSONResponse:
    person = person_now()
    assert request.scope.get(PERSON_IN_SCOPE, person) == person
    body = (await request.body()).decode()
    return JSONResponse({"name": person.name, "role": person.role, "body": body})


def _client(way: Way | None, folder: Path, has_api: bool = False, client: str = "203.0.113.9"):
    assert way is not None
    app = Starlette(routes=[Route("/{path:path}", _who, methods=["GET", "POST"])])
    gate = Gate(app, way, Proxies(["127.0.0.1"]), Sessions(3600), folder, has_api)
    return TestClient(
        Guard(gate, ["lab.example:7860"], 1, any_address=True),
        base_url=f"http://{HOST}",
        client=(client, 5000),
        follow_redirects=False,
    )


def _way(folder: Path, **given: str) -> Way | None:
    return way_in(load_settings({"LORA_DATA_DIR": str(folder), **given}), "0.0.0.0")


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("lora_engine.access.people_file.hashed", quick.hash)


@pytest.fixture
def people(tmp_path: Path) -> TestClient:
    add_person(tmp_path / "people", "anna", "run", PASSWORD)
    add_person(tmp_path / "people", "ben", "see", PASSWORD)
    way = _way(tmp_path, LORA_PASSWORD_FILE=str(tmp_path / "people"))
    return _client(way, tmp_path)


def _sign_in(client: TestClient, name: str = "anna", password: str = PASSWORD, then: str = "/runs"):
    return client.post("/sign-in", data={"name": name, "password": password, "then": then})


@pytest.mark.parametrize("path", WAYS_TO_GRADIO)
def test_nobody_gets_in_without_signing_in(people: TestClient, path: str) -> None:
    assert people.get(path).status_code == 401
    led = people.get(path, headers=HTML)
    assert led.status_code == 302
    assert "/sign-in?then=" in led.headers["location"]
    assert people.post(path).status_code in (401, 403)
    assert people.get(path, headers={"authorization": "Bearer x"}).status_code == 401
    forged = {"cookie": "rankscope_session_7860=eyJuYW1lIjoiYW5uYSJ9.x.y", "x-forwarded-user": "a"}
    assert people.get(path, headers=forged).status_code == 401


def test_open_are_the_health_the_page_and_its_styles(people: TestClient) -> None:
    assert people.get("/healthz").json()["role"] == "manage"  # the app's own, behind no login
    assert people.get("/sign-in").status_code == 200
    assert people.get("/zh/sign-in").text.count('lang="zh-CN"') == 1
    for address in open_addresses():
        assert people.get(address).status_code == 200


def test_the_api_keeps_its_own_key_where_it_is_served(tmp_path: Path) -> None:
    way = _way(tmp_path)
    assert _client(way, tmp_path, has_api=True).get("/v1/models").status_code == 200
    assert _client(way, tmp_path, has_api=False).get("/v1/models").status_code == 401


def test_a_password_opens_a_session_that_leads_on(people: TestClient) -> None:
    answer = _sign_in(people)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    session, name = answer.headers.get_list("set-cookie")
    assert session.startswith("rankscope_session_7860=")
    assert "HttpOnly" in session
    assert "SameSite=lax" in session
    assert "Path=/" in session
    assert "Secure" not in session
    assert PASSWORD not in session
    assert name.startswith("rankscope_person_7860=anna;")
    assert "HttpOnly" not in name
    assert people.get("/runs").json()["name"] == "anna"


@pytest.mark.parametrize(("name", "password"), [("anna", "x"), ("eve", PASSWORD), ("", "")])
def test_a_wrong_one_is_told_nothing(people: TestClient, tmp_path: Path, name, password) -> None:
    answer = _sign_in(people, name, password)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text
    log = (tmp_path / "audit.jsonl").read_text()
    assert "sign in refused" in log
    assert "203.0.113.9" in log
    assert PASSWORD not in log


def test_many_wrong_ones_must_wait_and_so_must_the_right_one(people: TestClient) -> None:
    answers = [_sign_in(people, "anna", "x").status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert _sign_in(people).status_code == 429
    assert _sign_in(people, "ben").status_code == 429  # the same address


def test_signing_out_ends_the_session_at_once(people: TestClient) -> None:
    session = _sign_in(people).cookies["rankscope_session_7860"]
    assert people.post("/sign-out").status_code == 303
    assert people.get("/runs").status_code == 401
    kept = {"cookie": f"rankscope_session_7860={session}"}
    assert people.get("/runs", headers=kept).status_code == 401


def test_who_is_removed_or_has_a_new_password_is_out(people: TestClient, tmp_path: Path) -> None:
    _sign_in(people)
    add_person(tmp_path / "people", "anna", "see", PASSWORD)  # a new hash, of the same password
    assert people.get("/runs").status_code == 401
    _sign_in(people)
    assert people.get("/runs").json()["role"] == "see"
    remove_person(tmp_path / "people", "anna")
    assert people.get("/runs").status_code == 401
    (tmp_path / "people").write_text("broken")
    assert people.get("/runs").status_code == 503


@pytest.mark.parametrize(
    "then",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/sign-in", ""],
)
def test_signing_in_never_leads_elsewhere(people: TestClient, then: str) -> None:
    assert _sign_in(people, then=then).headers["location"] == "/"


def test_what_was_typed_is_escaped(people: TestClient) -> None:
    text = _sign_in(people, '"><script>x</script>', "x", '/"><script>x').text
    assert "<script>x" not in text


def test_the_token_leaves_the_address(tmp_path: Path) -> None:
    way = _way(tmp_path)
    client = _client(way, tmp_path)
    assert client.get("/runs?token=wrong", headers=HTML).status_code == 401
    answer = client.get(f"/zh/runs?run=a&token={way.token}", headers=HTML)  # type: ignore[union-attr]
    assert (answer.status_code, answer.headers["location"]) == (303, "/zh/runs?run=a")
    assert way.token not in str(answer.headers)  # type: ignore[union-attr]
    assert client.get("/runs").json() == {"name": "local", "role": "manage", "body": ""}


def test_a_script_sends_the_token_in_a_header(tmp_path: Path) -> None:
    way = _way(tmp_path, LORA_TOKEN="0123456789abcdef")
    client = _client(way, tmp_path)
    right = {"authorization": "Bearer 0123456789abcdef"}
    assert client.get("/config", headers=right).status_code == 200
    for _ in range(5):
        assert client.get("/config", headers={"authorization": "Bearer x"}).status_code == 401
    assert client.get("/config", headers=right).status_code == 401  # has to wait now


def test_a_proxys_word_is_taken_from_the_proxy_alone(tmp_path: Path) -> None:
    add_person(tmp_path / "people", "anna", "manage", "")
    way = _way(
        tmp_path, LORA_PROXY_USER_HEADER="X-User", LORA_PASSWORD_FILE=str(tmp_path / "people")
    )
    proxied = _client(way, tmp_path, client="127.0.0.1")
    assert proxied.get("/", headers={"x-user": "anna"}).json()["role"] == "manage"
    assert proxied.get("/", headers={"x-user": "ben"}).json()["role"] == "run"
    assert proxied.get("/").status_code == 401
    assert proxied.get("/", headers={"x-user": ""}).status_code == 401
    twice = [("x-user", "anna"), ("x-user", "ben")]
    assert proxied.get("/", headers=twice).status_code == 401
    assert _client(way, tmp_path).get("/", headers={"x-user": "anna"}).status_code == 401


def test_behind_https_the_cookie_is_secure(tmp_path: Path) -> None:
    add_person(tmp_path / "people", "anna", "run", PASSWORD)
    way = _way(tmp_path, LORA_PASSWORD_FILE=str(tmp_path / "people"))
    proxied = _client(way, tmp_path, client="127.0.0.1")
    proxied.headers["x-forwarded-proto"] = "https"
    assert "Secure" in _sign_in(proxied).headers["set-cookie"]
    direct = _client(way, tmp_path)
    direct.headers["x-forwarded-proto"] = "https"
    assert "Secure" not in _sign_in(direct).headers["set-cookie"]


def test_who_may_only_look_uploads_nothing(people: TestClient) -> None:
    _sign_in(people, "ben")
    for path in ("/gradio_api/upload", "/gradio_api/upload/", "/zh/gradio_api/upload"):
        assert people.post(path, content=b"x").status_code == 403
    assert people.post("/gradio_api/queue/join", json={"session_hash": "b"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/queue/data?session_hash=annas"),
        ("GET", "/zh/gradio_api/queue/data?session_hash=annas"),
        ("GET", "/gradio_api/heartbeat/annas"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/component_server"),
    ],
)
def test_a_session_of_gradios_is_its_persons(people: TestClient, method: str, path: str) -> None:
    _sign_in(people)
    body = {"session_hash": "annas", "data": ["ä"]}
    joined = people.post("/gradio_api/queue/join", json=body)
    assert "annas" in joined.json()["body"]  # read by the gate, and again by the app
    _sign_in(people, "ben")
    given = {"json": {"session_hash": "annas"}} if method == "POST" else {}
    assert people.request(method, path, **given).status_code == 403
    _sign_in(people, "anna")
    assert people.request(method, path, **given).status_code == 200
