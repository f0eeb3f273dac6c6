"""A chat's model and a starting run weighed together: who lets go, who waits, for how long."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest

from lora_engine import free_memory
from lora_engine.base_models import BaseModel
from lora_engine.compare.generate import model_pool
from lora_engine.compare.generate.model_pool import ComparisonPool
from lora_engine.compare.service import Comparisons
from lora_engine.engine import Engine
from lora_engine.free_memory import DeviceMemory, device_memory
from lora_engine.nvidia_cards import CardReading
from lora_engine.run_folder import RunDirectory, RunResult
from lora_engine.runs import RunState
from lora_engine.runs.expected_base import ExpectedBase, base_of_ended_run, has_room
from lora_engine.runs.memory_room import OTHERS_PATIENCE_S, WEIGHED_S, MemoryRoom, read_wait
from lora_engine.runs.store import RunStore
from lora_engine.runs.supervisor import Supervisor
from lora_engine.spec import RunSpec, spec_from

GIB = 1 << 30


@dataclass
class Machine:
    """A machine of 8 GiB whose time is told by hand; `others` and a chat's model hold memory."""

    others: int = 0
    model: int = 0
    is_answering: bool = False
    needed: int | None = 3 * GIB
    now: float = 0.0
    asked: list[str] = field(default_factory=list)

    def memory(self, device: str) -> DeviceMemory:
        return DeviceMemory(8 * GIB - self.others - self.model, 8 * GIB)

    def let_go(self) -> str | None:
        if self.is_answering:
            return "tiny"
        self.model = 0
        return None

    def expected(self, spec: RunSpec) -> int | None:
        self.asked.append(spec.name)
        return self.needed

    def clock(self) -> float:
        self.now += WEIGHED_S
        return self.now


class Queue:
    """Two runs in a queue, a supervisor over the machine, and what it started."""

    def __init__(self, settings, machine: Machine) -> None:
        self.store = RunStore(settings.database_path)
        room = MemoryRoom(settings, machine.expected, machine.let_go, machine.memory, machine.clock)
        self.supervisor = Supervisor(self.store, settings, room)
        self.settings = settings
        self.started: list[str] = []
        for name in ("first", "second"):
            RunDirectory(settings.runs_dir / name).create(RunSpec())
            self.store.add(name, RunSpec(name=name))

    def launch(self, runs, *_) -> None:
        self.started += [run.directory.path.name for run in runs]
        raise OSError("no worker here")

    def tick(self) -> list[str]:
        self.started.clear()
        self.supervisor.tick()
        return self.started

    def wait(self):
        return read_wait(RunDirectory(self.settings.runs_dir / "first"))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def engine(settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def queue(settings, machine, monkeypatch) -> Queue:
    found = Queue(settings, machine)
    monkeypatch.setattr("lora_engine.runs.launchers.local.launch", found.launch)
    monkeypatch.setattr("lora_engine.runs.memory_room.generous_bytes", lambda *_: None)
    return found


def test_an_idle_model_is_let_go_and_the_run_starts(queue, machine):
    machine.model = 6 * GIB
    assert queue.tick() == ["first"]
    assert machine.model == 0


def test_where_there_is_enough_the_model_stays(queue, machine):
    machine.model = 5 * GIB
    assert queue.tick() == ["first"]
    assert machine.model == 5 * GIB


def test_while_the_model_answers_the_run_waits_says_so_and_starts_by_itself(queue, machine):
    machine.model, machine.is_answering = 6 * GIB, True
    machine.now = OTHERS_PATIENCE_S
    for _ in range(3):
        assert queue.tick() == []  # nor does the second one overtake
    assert queue.store.get("first").state is RunState.QUEUED
    wait = queue.wait()
    assert (wait.model, wait.needed_bytes, wait.free_bytes) == ("tiny", 3 * GIB, 2 * GIB)
    assert all(part in wait.words() for part in ("tiny", "3.0", "2.0", "8.0"))
    assert machine.asked == ["first"]
    machine.is_answering = False
    assert queue.tick() == ["first"]
    assert queue.wait() is None


def test_other_programs_are_waited_for_a_while_and_never_for_ever(queue, machine):
    machine.others = 6 * GIB
    assert queue.tick() == []
    assert queue.wait().model is None
    assert queue.wait().words() != queue.wait().model_copy(update={"model": "x"}).words()
    machine.now += OTHERS_PATIENCE_S
    assert queue.tick() == ["first"]


def test_memory_of_others_that_comes_free_lets_the_run_start(queue, machine):
    machine.others = 6 * GIB
    assert queue.tick() == []
    machine.others = GIB
    assert queue.tick() == ["first"]


@pytest.mark.parametrize("needed", [None, 9 * GIB], ids=["not known", "more than there is"])
def test_a_run_that_never_fits_or_whose_need_is_not_known_starts_as_it_did(needed, queue, machine):
    machine.needed, machine.model, machine.is_answering = needed, 7 * GIB, True
    assert queue.tick() == ["first"]


def test_a_need_that_cannot_be_reckoned_stops_no_queue(queue, machine, monkeypatch):
    def broken(spec):
        raise ValueError("no such layer")

    machine.others = 6 * GIB
    monkeypatch.setattr(queue.supervisor._room, "_expected", broken)
    assert queue.tick() == ["first"]


def test_what_it_waits_for_is_shown_by_the_engine_and_on_the_page(settings, engine, monkeypatch):
    from lora_engine.runs.memory_room import MemoryWait, say_wait
    from pages.runs.run_summary import heading

    RunDirectory(settings.runs_dir / "first").create(RunSpec())
    store = RunStore(settings.database_path)
    store.add("first", RunSpec())
    wait = MemoryWait(needed_bytes=3 * GIB, free_bytes=GIB, total_bytes=8 * GIB, model="<tiny>")
    say_wait(engine.runs.directory("first"), wait)
    assert engine.runs.waits_for("first") == wait
    shown = heading(engine, engine.runs.get("first"))
    assert "&lt;tiny&gt;" in shown
    store.move("first", [RunState.QUEUED], RunState.CANCELLED)
    assert engine.runs.waits_for("first") is None


def test_the_starter_is_never_asked_about_on_a_machine_with_room(settings, engine):
    from lora_engine.training.memory.quick_bound import generous_bytes

    spec = RunSpec()
    bound = generous_bytes(spec, settings)
    assert engine.advisor.expected_memory(spec) < bound < 16 * GIB


def test_the_next_base_is_that_of_a_run_that_ended_well_on_the_processor(settings, tiny_llama):
    numbers = dict.fromkeys(("train_loss", "tokens_per_s", "elapsed_s"), 1.0)
    counts = dict.fromkeys(("steps", "tokens", "peak_memory_bytes"), 1)
    ended = RunResult(state="finished", eval_loss=None, **numbers, **counts)

    def expected(device="cpu", result=ended, **changes):
        spec = spec_from({"base_model": str(tiny_llama), **changes})
        found = base_of_ended_run(spec, device, result, settings)
        return found and (found.name, found.precision)

    assert expected() == (str(tiny_llama), "auto")
    assert expected(optimization={"precision": "bfloat16"}) == (str(tiny_llama), "bfloat16")
    assert expected(device="0") is None
    assert expected(result=None) is None
    assert expected(result=ended.model_copy(update={"state": "failed"})) is None
    assert expected(quantization={"bits": 4}) is None
    assert expected(optimization={"stream_base": True}) is None
    assert expected(base_model="org/of-the-hub") is None
    assert expected(base_model=str(tiny_llama.parent / "gone")) is None


def test_a_standby_has_room_beside_a_run_and_a_base_in_a_share_of_the_rest():
    def room(free: int, base: int | None = None) -> bool:
        expected = None if base is None else ExpectedBase("base", "auto", base)
        return has_room(DeviceMemory(free, 16 * GIB), expected)

    assert room(2 * GIB)
    assert not room(2 * GIB - 1)
    assert room(6 * GIB, base=GIB)
    assert not room(6 * GIB - 4, base=GIB)


class Loaded:
    """A base in memory, with a cycle in it, as models have."""

    def __init__(self, base: BaseModel) -> None:
        self.base, self.itself = base, self


def test_the_pool_lets_go_of_what_nobody_holds_and_of_nothing_else(settings, monkeypatch):
    monkeypatch.setattr(model_pool.SharedBase, "load", lambda base, _: Loaded(base))
    monkeypatch.setattr(ComparisonPool, "_is_same", lambda *_: True)
    pool = ComparisonPool(settings)
    assert pool.let_go_if_idle() is None
    held = pool._base(BaseModel("tiny", None))
    seen = weakref.ref(held)
    assert pool.let_go_if_idle() == "tiny"
    assert pool._base(BaseModel("tiny", None)) is held
    del held
    assert pool.let_go_if_idle() is None
    gc.collect()
    assert seen() is None
    assert pool.loaded() is None


def test_a_chat_that_lacks_memory_takes_what_is_held_for_the_next_run(settings, monkeypatch):
    let_go = []
    monkeypatch.setattr(model_pool.SharedBase, "load", lambda base, _: Loaded(base))
    monkeypatch.setattr(model_pool, "weight_numbers", lambda _: GIB)  # 4 GiB in float32
    monkeypatch.setattr(model_pool, "device_memory", lambda _: DeviceMemory(5 * GIB, 8 * GIB))
    compare = Comparisons(settings)
    compare.add_spare(lambda: let_go.append("the standby"))
    compare._pool._base(BaseModel("tiny", None))
    assert not let_go
    compare._pool.unload()
    monkeypatch.setattr(model_pool, "device_memory", lambda _: DeviceMemory(5 * GIB - 1, 8 * GIB))
    compare._pool._base(BaseModel("tiny", None))
    assert let_go == ["the standby"]


def test_a_base_on_its_way_into_memory_counts_as_in_use(settings):
    pool = ComparisonPool(settings)
    pool._name = "tiny"
    with pool._guard:
        assert pool.let_go_if_idle() == "tiny"


def test_free_memory_is_the_cgroups_where_it_is_less(tmp_path):
    (tmp_path / "memory.max").write_text("2000\n")
    (tmp_path / "memory.current").write_text("1500\n")
    (tmp_path / "memory.stat").write_text("anon 900\ninactive_file 400\nactive_file 100\n")
    assert device_memory("cpu", tmp_path) == DeviceMemory(1000, 2000)
    (tmp_path / "memory.max").write_text("max\n")
    assert device_memory("cpu", tmp_path).total_bytes > 2000


def test_a_card_is_known_by_its_number_and_others_are_not_weighed(monkeypatch):
    cards = (CardReading("one", None, 1, 10), CardReading("two", None, 4, 10))
    monkeypatch.setattr(free_memory, "read_cards", lambda: cards)
    assert device_memory("1") == DeviceMemory(6, 10)
    assert device_memory("2") is None
    assert device_memory("MIG-1234") is None
