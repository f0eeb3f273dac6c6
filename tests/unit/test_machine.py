"""The machine's gauges: what is read, what it costs, and cards that only a driver knows."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from lora_engine import machine, nvidia_cards
from lora_engine.machine import Machine
from lora_engine.nvidia_cards import CardReading, read_cards
from pages.runs import machine_strip


class Driver:
    """NVML with three cards: one sound, one that does not tell how busy it is, one that is lost."""

    def nvmlDeviceGetCount_v2(self, count) -> int:  # noqa: N802
        count._obj.value = 3
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number, handle) -> int:  # noqa: N802
        handle._obj.value = number.value + 1
        return 15 if number.value == 2 else 0

    def nvmlDeviceGetMemoryInfo(self, handle, memory) -> int:  # noqa: N802
        memory._obj.total, memory._obj.used = 80 * 2**30, handle.value * 2**30
        return 0

    def nvmlDeviceGetName(self, handle, name, size) -> int:  # noqa: N802
        assert size.value == ctypes.sizeof(name)
        name.value = b"NVIDIA <b>H100</b>"
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle, busy) -> int:  # noqa: N802
        busy._obj.gpu = 37
        return 3 if handle.value == 2 else 0


@pytest.fixture
def no_driver(monkeypatch) -> Iterator[None]:
    def missing(name: str) -> None:
        raise OSError(name)

    nvidia_cards._library.cache_clear()
    monkeypatch.setattr(nvidia_cards.ctypes, "CDLL", missing)
    yield
    nvidia_cards._library.cache_clear()


def test_every_card_that_answers_is_read():
    first, second = read_cards(Driver())
    assert first == CardReading("NVIDIA <b>H100</b>", 0.37, 2**30, 80 * 2**30)
    assert (second.busy, second.used_bytes) == (None, 2 * 2**30)


def test_without_a_driver_there_is_no_card(no_driver):
    assert read_cards() == ()


def test_pages_that_ask_at_once_share_one_reading(tmp_path, monkeypatch, no_driver):
    now = [100.0]
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watched = Machine(tmp_path)
    first = watched.reading()
    assert 0 <= first.processor <= 1
    assert 0 < first.memory_used_bytes < first.memory_total_bytes
    assert 0 < first.disk_free_bytes < first.disk_total_bytes
    now[0] += 0.5
    assert watched.reading() is first
    now[0] += 0.6
    assert watched.reading() is not first


class Texts(HTMLParser):
    """The texts and tags of some markup."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_strip_shows_each_card_or_says_that_there_is_none(tmp_path, no_driver):
    reading = Machine(tmp_path).reading()
    assert Texts(machine_strip.html(reading)).texts[-2:] == ["GPU", "none here"]
    with_cards = replace(reading, cards=read_cards(Driver()))
    shown = Texts(machine_strip.html(with_cards))
    assert shown.texts[-4:] == [
        "NVIDIA <b>H100</b>", "37 %, 1.00 GiB of 80.0 GiB",
        "NVIDIA <b>H100</b>", "2.00 GiB of 80.0 GiB",
    ]  # fmt: skip
    assert "b" not in shown.tags
