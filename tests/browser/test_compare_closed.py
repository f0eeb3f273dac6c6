"""An answer that its tab does not wait for to the end, closed or stopped: generation ends too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from lora_engine.generation.decode import DecodeBatch
from lora_engine.settings import Settings
from pages import COMPARE
from tests.waiting import free_port, wait_until

pytestmark = pytest.mark.slow

TOKENS = 240
TOKEN_S = 0.05  # an answer of 240 tokens lasts 12 s
LONGEST_S = 120


@dataclass
class Counted:
    url: str
    steps: int = 0


@pytest.fixture
def server(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """The dashboard in a thread of this process, its steps slow and counted."""
    import app

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    counted = Counted(f"http://127.0.0.1:{free_port()}")
    advance = DecodeBatch.advance

    def slow(batch: DecodeBatch) -> bool:
        counted.steps += 1
        time.sleep(TOKEN_S)
        return advance(batch)

    monkeypatch.setattr(DecodeBatch, "advance", slow)
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models", device="cpu")
    port = int(counted.url.rpartition(":")[2])
    config = uvicorn.Config(app.create_app(settings), port=port, log_config=None)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_until(lambda: running.started, LONGEST_S)
    yield counted
    running.should_exit = True
    thread.join(20)


def long_answer(page: Page) -> None:
    expect(page.get_by_label("Your question")).to_be_enabled()
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Token limit").fill(str(TOKENS))
    page.get_by_label("Temperature").fill("3")
    page.get_by_role("tab", name="Answers").click()
    page.get_by_label("Your question").fill("Count.")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#compare-status")).to_contain_text("tokens, ")


def prompt_set(page: Page) -> None:
    """One batch, which is answered whole before its first row is shown."""
    expect(page.get_by_label("Your question")).to_be_enabled()
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Token limit").fill(str(TOKENS))
    page.get_by_label("Temperature").fill("3")
    page.get_by_role("tab", name="Prompt set").click()
    page.locator("#prompts textarea").fill("Count.\nCount again.")
    page.get_by_role("button", name="Answer all").click()


@pytest.mark.parametrize("generate", [long_answer, prompt_set])
def test_generation_ends_within_a_second_of_the_tabs_closing(
    server: Counted, open_page: Callable[..., Page], generate: Callable[[Page], None]
) -> None:
    page = open_page(server.url + COMPARE.path)
    generate(page)
    wait_until(lambda: server.steps >= 10, LONGEST_S)
    page.close()
    at_closing = server.steps
    ended = rested(server)
    # A step lasts TOKEN_S at least: so many steps are a second or longer, however slow the machine.
    assert ended - at_closing < 1 / TOKEN_S, "still generating for nobody"
    assert ended < TOKENS - 20


def rested(server: Counted) -> int:
    """The steps that were made once a second passes without one."""
    seen = -1
    while seen != server.steps:
        seen = server.steps
        time.sleep(20 * TOKEN_S)
    return seen


def test_stop_ends_a_long_answer_where_it_is(
    server: Counted, open_page: Callable[..., Page]
) -> None:
    page = open_page(server.url + COMPARE.path)
    long_answer(page)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#compare-status")).to_contain_text("stopped")
    answer = page.locator("#column-0").get_by_test_id("bot")
    said = answer.inner_text()
    assert said
    assert rested(server) < TOKENS - 20
    assert answer.inner_text() == said
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
