"""A real nginx in front of the dashboard, with the very text that docs/security.md recommends: its
blocks are taken from the page, and only ports and paths are put in."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

import app
from lora_engine.access import Way, add_person, way_in
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLACES = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", f"{ROOT}/build/nginx/usr/sbin"]
NGINX = shutil.which("nginx", path=":".join(PLACES))
NAME, KEY, PASSWORD = "lab.example", "sk-not-a-secret-0123456789", "correct horse battery"
START_S = 60
ELSEWHERE = "127.0.0.5"  # no trusted proxy has this address of this machine
AROUND = """
daemon off; pid nginx.pid; error_log error.log; worker_processes 1; {user}
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {servers}
}}
"""


@dataclass(frozen=True)
class Proxied:
    """host: as a browser names it. direct: the dashboard without the proxy."""

    host: str
    direct: str
    data_dir: Path
    certificate: Path

    def client(self, address: str = ELSEWHERE, **given) -> httpx.Client:
        """Of somebody at this address of the machine, who checks the certificate."""
        port = self.host.rpartition(":")[2]
        return httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"host": self.host, **given.pop("headers", {})},
            transport=_ByName(self.certificate, address),
            timeout=60,
            **given,
        )


class _ByName(httpx.HTTPTransport):
    """Connects to this machine and asks for the server by its name, as DNS would have it."""

    def __init__(self, certificate: Path, address: str) -> None:
        trusted = ssl.create_default_context(cafile=str(certificate))
        super().__init__(verify=trusted, local_address=address)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = NAME
        return super().handle_request(request)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Proxied]]:
    """The dashboard behind each of the page's two recipes: `people` and `header`."""
    if NGINX is None:
        pytest.skip("there is no nginx: `make nginx` fetches Debian's")
    folder = tmp_path_factory.mktemp("proxy")
    certificate = _certificate(folder)
    (folder / "htpasswd").write_text(f"ana:{{PLAIN}}{PASSWORD}\nben:{{PLAIN}}{PASSWORD}\n")
    add_person(folder / "people", "ana", "manage", PASSWORD)
    (folder / "key").write_text(KEY)
    ways = {
        "people": {"LORA_PASSWORD_FILE": str(folder / "people")},
        "header": {"LORA_PROXY_USER_HEADER": "X-Forwarded-User", "LORA_PROXY_ROLE": "see"},
    }
    blocks = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/security.md").read_text("utf-8"), re.S)
    servers, found = [], {}
    with ExitStack() as started:
        for (kind, way), block in zip(ways.items(), blocks, strict=True):
            host, data = f"{NAME}:{_free_port()}", folder / f"data-{kind}"
            port = started.enter_context(_dashboard(data, folder / "key", host, way))
            servers.append(_placed(block, host, port, folder))
            found[kind] = Proxied(host, f"http://127.0.0.1:{port}", data, certificate)
        started.enter_context(_nginx(folder, "\n".join(servers), found["people"]))
        yield found


@pytest.fixture
def people(proxied: dict[str, Proxied]) -> Proxied:
    return proxied["people"]


@pytest.fixture
def header(proxied: dict[str, Proxied]) -> Proxied:
    return proxied["header"]


def _placed(block: str, host: str, port: int, folder: Path) -> str:
    """A recipe with the test's ports and paths in place of the page's."""
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{host.rpartition(':')[2]} ssl"),
        ("127.0.0.1:7860", f"127.0.0.1:{port}"),
        ("/etc/ssl/lab.example.pem", str(folder / "cert.pem")),
        ("/etc/ssl/lab.example.key", str(folder / "cert.key")),
        ("/etc/nginx/rankscope.htpasswd", str(folder / "htpasswd")),
    ):
        assert old in block or "htpasswd" in old, old
        block = block.replace(old, new)
    return block


def _certificate(folder: Path) -> Path:
    path = folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-keyout", str(folder / "cert.key"), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def _dashboard(data: Path, key: Path, host: str, way: dict[str, str]) -> Iterator[int]:
    """The port of a dashboard in a thread of this process."""
    data.mkdir()
    environment = {
        "LORA_DATA_DIR": str(data), "LORA_DEVICE": "cpu", "LORA_API_KEY_FILE": str(key),
        "LORA_ALLOWED_HOSTS": host, "LORA_MAX_UPLOAD_MB": "1", **way,
    }  # fmt: skip
    settings = load_settings(environment)
    is_whole = "LORA_PASSWORD_FILE" in way  # the pages need not be built twice
    make = app.create_app if is_whole else _without_pages
    made = make(settings, way=way_in(settings, "127.0.0.1"))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        made, log_config=None, access_log=False, proxy_headers=False, http="h11", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(30)


def _without_pages(settings: Settings, way: Way | None) -> FastAPI:
    """The dashboard's guard, gate and API, and nothing behind them."""
    engine = Engine(settings)
    api = app._api(engine)
    made = app._guarded_app(engine, api, "127.0.0.1", way, [])
    api.add_routes(made)
    return made


@contextmanager
def _nginx(folder: Path, servers: str, one: Proxied) -> Iterator[None]:
    config = folder / "nginx.conf"
    user = "user root;" if folder.owner() == "root" else ""
    config.write_text(AROUND.format(servers=servers, user=user))
    process = subprocess.Popen([NGINX, "-p", str(folder), "-e", "error.log", "-c", str(config)])
    try:
        _until_answered(one, process, folder / "error.log")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _until_answered(one: Proxied, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    with one.client() as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                assert client.get("/healthz").text == "ok\n"
                return
            except httpx.ConnectError:
                time.sleep(0.05)
    raise AssertionError(log.read_text() if log.exists() else "nginx did not start")


def _signed_in(client: httpx.Client) -> httpx.Response:
    form = {"name": "ana", "password": PASSWORD, "then": "/runs"}
    return client.post("/sign-in", data=form)


def test_a_login_comes_through_with_a_cookie_for_https_alone(people: Proxied) -> None:
    with people.client() as client:
        asked = client.get("/runs", headers={"accept": "text/html"})
        assert asked.status_code == 302
        answer = _signed_in(client)
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
        session, _ = answer.headers.get_list("set-cookie")
        assert {"Secure", "HttpOnly", "SameSite=lax"} <= set(session.split("; "))
        cookie = session.partition(";")[0]
        page = client.get("/runs", headers={"cookie": cookie, "accept": "text/html"})
        assert page.status_code == 200
        assert f"https://{people.host}" in page.text  # the address that Gradio's page goes on with
    told = json.loads((people.data_dir / "audit.jsonl").read_text().splitlines()[-1])
    assert (told["person"], told["address"]) == ("ana", ELSEWHERE)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"origin": "https://{host}"}, 200),
        ({"origin": "http://{host}"}, 403),
        ({"origin": "https://lab.example"}, 403),
        ({"origin": "https://lab.example:1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"x-forwarded-host": "evil.example"}, 421),
    ],
)
def test_host_and_origin_are_exact(people: Proxied, changed: dict, status: int) -> None:
    headers = {name: value.format(host=people.host) for name, value in changed.items()}
    with people.client() as client:
        assert client.get("/healthz", headers=headers).status_code == status


def test_the_proxys_word_is_believed_from_the_proxy_alone(header: Proxied) -> None:
    """Who may only look is refused an upload by name: it tells who the dashboard takes us for."""
    said = {"X-Forwarded-User": "zoe"}
    upload = {"url": "/gradio_api/upload", "files": {"files": ("a.txt", b"a")}}
    with header.client() as client:
        assert client.get("/", headers=said).status_code == 401  # nginx's own
        answer = client.post(**upload, headers=said, auth=("ben", PASSWORD))
        assert answer.status_code == 403
        assert "ben" in answer.text
        assert "zoe" not in answer.text
    direct = httpx.HTTPTransport(local_address=ELSEWHERE)
    with httpx.Client(base_url=header.direct, transport=direct) as client:
        assert client.post(**upload, headers=said).status_code == 401


def test_nobody_names_themselves_through_the_recipe_with_passwords(people: Proxied) -> None:
    with people.client(headers={"X-Forwarded-User": "ana"}) as client:
        assert client.get("/config").status_code == 401


def test_a_stream_that_never_ends_shows_its_first_piece(people: Proxied) -> None:
    with people.client() as client:
        cookie = _signed_in(client).headers["set-cookie"].partition(";")[0]
        asked = {"cookie": cookie}
        with client.stream("GET", "/gradio_api/heartbeat/a", headers=asked) as answer:
            assert next(answer.iter_bytes())


@pytest.mark.parametrize("kind", ["people", "header"])
def test_the_api_asks_for_its_key_and_answers_in_pieces(proxied, kind: str) -> None:
    body = {
        "model": "starter", "stream": True, "max_tokens": 16,
        "messages": [{"role": "user", "content": "What colour is the sky?"}],
    }  # fmt: skip
    with proxied[kind].client() as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 401
        key = {"authorization": f"Bearer {KEY}"}
        if kind == "header":
            assert client.get("/v1/models", headers=key).status_code == 200
            return
        with client.stream("POST", "/v1/chat/completions", json=body, headers=key) as answer:
            pieces = list(answer.iter_raw())
    assert answer.status_code == 200
    assert len(pieces) > 1  # how many arrive at once is up to the network


def test_a_large_upload_is_refused_in_the_dashboards_own_words(people: Proxied) -> None:
    with people.client() as client:
        cookie = _signed_in(client).headers["set-cookie"].partition(";")[0]
        sent = {"url": "/gradio_api/upload", "headers": {"cookie": cookie}}
        small = client.post(**sent, files={"files": ("a.txt", b"a" * 900_000)})
        assert small.status_code == 200
        large = client.post(**sent, files={"files": ("a.txt", b"a" * 3_000_000)})
    assert large.status_code == 413
    assert "LORA_MAX_UPLOAD_MB" in large.text
