"""Twenty chats at once through the API, beside the same answers as one batch in this process."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _path  # noqa: F401
import compare
import httpx
import serve

from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.data import Message
from lora_engine.generation.sampling import Sampling
from lora_engine.settings import Settings

CHATS = 20
TOKENS = 128


def chats(rounds: int) -> dict:
    """Seconds until the last of the chats is over, the batch's own, and their ratio.

    The two take turns, and the ratio is taken round by round.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        base = compare.random_llama(data / "models" / "llama-9m")
        batch = _batch(ComparisonModel.load(base, {}, Settings(data_dir=data, device="cpu")))
        with (
            serve.served(data, base, "cpu") as (address, key),
            httpx.Client(
                base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=600
            ) as client,
            ThreadPoolExecutor(CHATS) as pool,
        ):
            name = client.get("/models").json()["data"][0]["id"]

            def at_once() -> None:
                asked = [pool.submit(serve.ask, client, name, n, TOKENS) for n in range(CHATS)]
                assert sum(one.result() for one in asked) == CHATS * TOKENS

            for way in (at_once, batch):  # loads, and warms up
                way()
            measured = [(_seconds(at_once), _seconds(batch)) for _ in range(rounds)]
    return {
        "chats": CHATS,
        "tokens": TOKENS,
        "at_once_s": statistics.median(chats for chats, _ in measured),
        "batch_s": statistics.median(batch for _, batch in measured),
        "ratio": statistics.median(chats / batch for chats, batch in measured),
    }


def _batch(model: ComparisonModel) -> Callable[[], None]:
    """Answers the chats' questions in one batch."""
    model.shared.end_tokens = frozenset()

    def question(number: int) -> list[Message]:
        words = f"Please tell me {number + 2} things about animals, colours and numbers."
        return [Message("user", words)]

    def answer() -> None:
        requests = [AnswerRequest(str(n), "base", question(n)) for n in range(CHATS)]
        *_, last = model.answer_all(requests, Sampling(max_new_tokens=TOKENS))
        assert all(column.tokens == TOKENS for column in last.columns.values())

    return answer


def _seconds(way: Callable[[], None]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
