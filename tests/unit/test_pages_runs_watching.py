"""What watching tabs are answered: one look for all that show the same, and never another's."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lora_engine.access import LOCAL, Person, acting_as, keep_owner
from lora_engine.engine import Engine
from lora_engine.language import speaking
from lora_engine.run_folder import MetricsRow, MetricsWriter, RunDirectory
from lora_engine.runs import supervisor
from lora_engine.runs.states import RunState
from lora_engine.runs.store import RunStore
from lora_engine.spec import spec_from
from pages.runs import content, curves, watching
from pages.runs.content import content_of
from pages.runs.selection import Selection
from pages.runs.watching import Watched
from pages.shared.asking import PERSON_IN_SCOPE

ANNA, BEN = Person("anna", "run"), Person("ben", "run")
NOTHING_YET = "{}"


class Clock:
    """Both clocks that the page looks at; they stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (watching, content):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def engine(settings, monkeypatch, clock) -> Engine:
    """An engine that starts nothing, on a machine where nothing moves."""
    monkeypatch.setattr(supervisor, "list_devices", lambda _: [])
    engine = Engine(settings)
    reading = engine.machine.reading()
    monkeypatch.setattr(engine, "machine", SimpleNamespace(reading=lambda: reading))
    return engine


def add(engine: Engine, run_id: str, owner: Person | None = None, steps: int = 2) -> None:
    store = RunStore(engine.settings.database_path)
    spec = spec_from({"name": run_id})
    directory = RunDirectory(engine.settings.runs_dir / run_id)
    with acting_as(owner or LOCAL):
        directory.create(spec)
        keep_owner(directory.path)
        store.add(run_id, spec)
        store.move(run_id, [RunState.QUEUED], RunState.RUNNING)
    for step in range(1, steps + 1):
        log_step(engine, run_id, step)


def log_step(engine: Engine, run_id: str, step: int) -> None:
    writer = MetricsWriter(engine.settings.runs_dir / run_id / "metrics.jsonl")
    writer.write(
        MetricsRow(
            seq=0, step=step, epoch=0.1, loss=3.0 / step, learning_rate=1e-3, grad_norm=1.0,
            tokens=100 * step, tokens_per_s=50.0, elapsed_s=2.0 * step, memory_bytes=2**30,
            total_steps=12,
        )
    )  # fmt: skip
    writer.close()


def asked(watched: Watched, known: str = NOTHING_YET, run_id: str = "") -> dict:
    """The news that one tab gets, or nothing."""
    return read(asyncio.run(watched.news(Selection(run_id), known)))


def read(news: str) -> dict:
    return json.loads(news) if news else {}


def counted(monkeypatch, target: object, name: str) -> list:
    """The calls of a function from now on."""
    calls, real = [], getattr(target, name)
    monkeypatch.setattr(target, name, lambda *given: calls.append(given) or real(*given))
    return calls


def test_many_tabs_that_show_the_same_are_answered_by_one_look(engine, monkeypatch):
    add(engine, "a")
    watched = Watched(engine)
    looks = counted(monkeypatch, engine.runs, "list")
    drawn = counted(monkeypatch, curves, "values")

    async def all_ask() -> list[str]:
        tabs = (watched.news(Selection("a"), NOTHING_YET) for _ in range(50))
        return await asyncio.gather(*tabs)

    answers = {json.dumps(read(text)["values"]) for text in asyncio.run(all_ask())}
    assert (len(looks), len(drawn), len(answers)) == (1, 1, 1)


def test_what_a_tab_has_is_not_sent_again_and_not_drawn_again(engine, clock, monkeypatch):
    add(engine, "a")
    log = RunDirectory(engine.settings.runs_dir / "a").log_path
    log.touch()
    watched = Watched(engine)
    first = asked(watched)
    assert first["known"] == NOTHING_YET
    assert {"runs", "heading", "loss", "log"} <= set(first["values"])
    assert asked(watched, first["fingerprint"]) == {}

    drawn = counted(monkeypatch, curves, "values")
    log.write_text("a line\n")
    clock.now += 60
    assert set(asked(watched, first["fingerprint"])["values"]) - {"table"} == {"log"}
    assert set(asked(watched)["values"]) == set(first["values"])  # another tab opens
    assert drawn == []

    log_step(engine, "a", 3)
    clock.now += 60
    later = asked(watched, first["fingerprint"])
    assert json.loads(later["values"]["loss"])["data"][0]["x"] == [1, 2, 3]
    assert "3" in json.loads(later["values"]["runs"])["items"][0]["detail"]


def test_a_look_is_not_older_than_what_the_page_was_told_by_its_own_action(engine, clock):
    add(engine, "a")
    watched = Watched(engine)
    asked(watched)
    clock.now += 0.1  # the look that was taken is still fresh
    engine.runs.annotate("a", "a new note", [])
    told = content_of(engine, Selection()).fingerprint
    assert asked(watched, told) == {}


def test_a_dear_look_serves_for_longer(engine, clock, monkeypatch):
    add(engine, "a")
    watched = Watched(engine)
    real = engine.runs.list

    def slow() -> list:
        clock.now += 1.0
        return real()

    monkeypatch.setattr(engine.runs, "list", slow)
    asked(watched)
    looks = counted(monkeypatch, engine.runs, "list")
    clock.now += 5.0
    asked(watched)
    assert looks == []
    clock.now += 60.0
    asked(watched)
    assert len(looks) == 1


def test_nobody_is_answered_with_what_is_somebody_elses(engine):
    add(engine, "of-anna", ANNA)
    add(engine, "of-ben", BEN)
    watched = Watched(engine)
    with acting_as(ANNA):
        hers = asked(watched)
    with acting_as(BEN):
        his = asked(watched)
        not_his = asked(watched, run_id="of-anna")
    assert [item["id"] for item in json.loads(hers["values"]["runs"])["items"]] == ["of-anna"]
    assert [item["id"] for item in json.loads(his["values"]["runs"])["items"]] == ["of-ben"]
    assert "of-anna" not in json.dumps(his)
    assert not_his["values"]["run_id"] == "of-ben"


def test_each_language_has_answers_of_its_own(engine):
    add(engine, "a")
    watched = Watched(engine)
    english = asked(watched)
    with speaking("zh"):
        chinese = asked(watched)
    assert english["values"]["facts"] != chinese["values"]["facts"]


def test_the_route_answers_as_who_asks_and_says_nothing_where_nothing_is_new(engine):
    add(engine, "of-anna", ANNA)
    add(engine, "of-ben", BEN)
    app = FastAPI()
    watching.add_routes(app, engine)
    who = {}

    async def signed_in(scope, receive, send) -> None:
        await app({**scope, **who}, receive, send)

    client = TestClient(signed_in)

    def got(**given: str):
        return client.get(f"{watching.address()}&{urlencode({'known': NOTHING_YET, **given})}")

    for person, others in ((ANNA, "of-ben"), (BEN, "of-anna")):
        who[PERSON_IN_SCOPE] = person
        answer = got(run=f"of-{person.name}")
        assert answer.headers["cache-control"] == "no-store"
        news = answer.json()
        assert others not in answer.text
        again = got(run=f"of-{person.name}", known=news["fingerprint"])
        assert (again.status_code, again.content) == (204, b"")
    assert got(lang="../x", columns="none,id", state="no,running", over="no").status_code == 200
    assert client.get(watching.PATH).status_code == 204  # the page has not opened yet
