"""The API under load: full queues, waits that are too long, clients that go, a model that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from lora_engine.adapters.library import AdapterLibrary
from lora_engine.compare.generate import shared_base
from lora_engine.compare.service import Comparisons
from lora_engine.generation.decode import DecodeBatch
from lora_engine.serve.routes import Api
from lora_engine.settings import Settings
from tests.api_server import KEY
from tests.compare_models import save_base

STEP_S = 0.02
LONG = {"model": "base", "prompt": "Hello", "temperature": 0, "max_tokens": 400}


@dataclass
class Steps:
    """Counts the decoder's steps, makes each last 20 ms, and fails on demand."""

    count: int = 0
    fails: bool = False


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    advance = DecodeBatch.advance

    def slow(batch: DecodeBatch) -> bool:
        steps.count += 1
        time.sleep(STEP_S)
        if steps.fails:
            raise RuntimeError("out of memory, as torch would say")
        return advance(batch)

    monkeypatch.setattr(DecodeBatch, "advance", slow)
    monkeypatch.setattr(shared_base, "stop_tokens", lambda *_: frozenset())  # answers go on
    return steps


@pytest.fixture
def serving(settings: Settings) -> Iterator[Callable[..., httpx.Client]]:
    """Start the API in a thread of this process with some limits; a client for it."""
    save_base(settings.models_dir / "base")
    key = settings.data_dir / "key"
    key.write_text(KEY, "utf-8")

    def start(**limits: float) -> httpx.Client:
        given = {"api_key_file": key, "api_base": "base", **limits}
        return stack.enter_context(_served(settings.model_copy(update=given)))

    with ExitStack() as stack:
        yield start


@contextmanager
def _served(settings: Settings) -> Iterator[httpx.Client]:
    app = Starlette()
    api = Api(settings, Comparisons(settings), AdapterLibrary(settings))
    api.add_routes(app)
    config = uvicorn.Config(app, port=0, log_config=None, loop="asyncio", http="h11")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {KEY}"}
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}/v1", headers=headers, timeout=60
        ) as client:
            yield client
    finally:
        server.should_exit = True
        api.close()
        thread.join()


@contextmanager
def streaming(client: httpx.Client) -> Iterator[Iterator[str]]:
    """A long answer that has begun; its lines."""
    with client.stream("POST", "/completions", json={**LONG, "stream": True}) as answer:
        lines = answer.iter_lines()  # kept: httpx closes the answer with its last reader
        next(lines)
        yield lines


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_that_finds_the_queue_full_is_told_when_to_ask_again(serving, steps):
    client = serving(api_max_running=1, api_max_waiting=1, api_max_wait_s=60)
    with ThreadPoolExecutor() as pool:
        with streaming(client):
            posts = [
                pool.submit(client.post, "/completions", json={**LONG, "max_tokens": 2})
                for _ in range(3)
            ]
            until(lambda: sum(post.done() for post in posts) == 2)
            refused = [post.result() for post in posts if post.done()]
        answered = [post.result() for post in posts if post.result() not in refused]
    assert [answer.status_code for answer in answered] == [200]
    for answer in refused:
        assert answer.status_code == 429
        assert answer.headers["retry-after"].isdigit()
        assert answer.json()["error"]["type"] == "rate_limit_error"


def test_a_request_that_waits_too_long_fails_with_a_503(serving, steps):
    client = serving(api_max_running=1, api_max_wait_s=0.2)
    with streaming(client):
        for stream in (False, True):
            late = client.post("/completions", json={**LONG, "stream": stream})
            assert late.status_code == 503
            assert late.headers["retry-after"].isdigit()
            assert late.json()["error"]["code"] == "overloaded"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_its_answer(serving, steps, stream):
    client = serving()
    if stream:
        with streaming(client):
            pass
    else:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/completions", json=LONG, timeout=1.5)
    until(lambda: steps.count > 0)
    seen = -1

    def still() -> bool:
        nonlocal seen
        before, seen = seen, steps.count
        time.sleep(10 * STEP_S)
        return seen == before

    until(still)
    assert 0 < steps.count < LONG["max_tokens"]


def test_a_new_request_is_answered_while_a_long_one_runs(serving, steps):
    client = serving()
    with streaming(client):
        before = steps.count
        short = client.post("/completions", json={**LONG, "max_tokens": 3})
        assert short.status_code == 200
        assert short.json()["usage"]["completion_tokens"] == 3
        assert steps.count - before < LONG["max_tokens"] / 2


def test_a_model_that_fails_fails_its_requests_and_serves_the_next(serving, steps):
    client = serving()
    steps.fails = True
    failed = client.post("/completions", json=LONG)
    assert failed.status_code == 500
    assert "out of memory" in failed.json()["error"]["message"]
    steps.fails = False
    with client.stream("POST", "/completions", json={**LONG, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        steps.fails = True
        events = [line for line in lines if line]
    assert '"error"' in events[-1]
    steps.fails = False
    assert client.post("/completions", json={**LONG, "max_tokens": 2}).status_code == 200
