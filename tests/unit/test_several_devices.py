"""Several devices for one run: who takes which rows, what is refused, what a run is known by."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.calculator import preset_source, read_request
from lora_engine.calculator.memory import estimate_memory
from lora_engine.data import TokenizedRow
from lora_engine.devices import named_devices
from lora_engine.errors import EngineError
from lora_engine.runs import supervisor
from lora_engine.settings import Settings
from lora_engine.spec import spec_from
from lora_engine.training.checkpointing.identity import spec_fields, spec_hash
from lora_engine.training.compatibility import (
    Machine,
    compatibility_problems,
    machine_of,
    refuse_other_group,
    this_machine,
)
from lora_engine.training.ranks.ranks import Ranks
from lora_engine.training.ranks.shares import dealt, own_share
from lora_engine.training.together import sharing_key

CARDS = Machine(True, frozenset({"bitsandbytes"}), devices=4)
BATCHES = st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=9), min_size=1, max_size=6)


def batches_of(lengths):
    number = iter(range(10_000))
    return [
        [TokenizedRow(next(number), (1,) * size, (1,) * size, False) for size in batch]
        for batch in lengths
    ]


@given(BATCHES, st.integers(1, 5), st.booleans())
def test_every_row_of_a_step_goes_to_one_process(lengths, count, divides):
    batches = batches_of(lengths)
    shares = dealt(batches, count, divides)
    for place, batch in enumerate(batches):
        parts = [share[place] for share in shares]
        assert sorted(row.number for part in parts for row in part) == [r.number for r in batch]
        if not divides:
            assert sum(bool(part) for part in parts) == 1
    tokens = [sum(len(row.input_ids) for part in share for row in part) for share in shares]
    largest = max(max(batch) if divides else sum(batch) for batch in lengths)
    assert max(tokens) - min(tokens) <= largest


@given(BATCHES, st.integers(2, 5))
def test_in_lockstep_all_make_as_many_passes_and_fillers_teach_nothing(lengths, count):
    batches = batches_of(lengths)
    for rank in range(count):
        passes = own_share(batches, Ranks(rank, count, is_lockstep=True))
        assert len(passes) == len(batches)
        assert all(passes)
    learned = [
        row.number
        for rank in range(count)
        for rows in own_share(batches, Ranks(rank, count, is_lockstep=True))
        for row in rows
        if row.labels[0] == 1
    ]
    assert sorted(learned) == [row.number for batch in batches for row in batch]


def problems(machine=CARDS, devices=2, sharding="none", **document):
    optimization = {"devices": devices, "sharding": sharding, **document.pop("optimization", {})}
    spec = spec_from({**document, "optimization": optimization})
    return {one.path for one in compatibility_problems(spec, machine)}


def test_what_several_devices_cannot_do_is_said_at_its_field():
    assert problems() == set()
    assert problems(devices=5) == {"optimization.devices"}
    assert problems(Machine(False, frozenset(), devices=2), devices=3) == {"optimization.devices"}
    grpo = {"kind": "grpo", "rules": [{"kind": "json_valid"}]}
    assert problems(objective=grpo) == {"optimization.devices"}
    assert problems(objective={"kind": "kto"}) == {"optimization.devices"}
    assert problems(optimization={"stream_base": True}) == {"optimization.devices"}
    assert problems(objective={"kind": "kto"}, optimization={"gradient_accumulation": 2}) == set()
    assert problems(objective={"kind": "dpo"}) == set()


@pytest.mark.parametrize(
    ("document", "count", "field"),
    [
        ({"optimization": {"devices": 1}}, 2, "devices"),
        ({"optimization": {"devices": 4}}, 2, "devices"),
        (
            {
                "optimization": {"devices": 2},
                "objective": {"kind": "grpo", "rules": [{"kind": "json_valid"}]},
            },
            2,
            "grpo",
        ),
    ],
)
def test_processes_that_torchrun_started_are_those_that_the_spec_asks_for(
    settings, document, count, field
):
    with pytest.raises(EngineError, match=field):
        refuse_other_group(spec_from(document), count, settings)
    refuse_other_group(spec_from({"optimization": {"devices": 2}}), 2, settings)


def test_a_run_for_a_cluster_is_checked_against_what_it_asks_for_there(settings):
    asked = {"launcher": "slurm", "optimization": {"precision": "float16", "devices": 4}}
    unmet = {"optimization.devices", "optimization.precision"}
    for gpus, wrong in ((4, set()), (1, {"optimization.devices"}), (0, unmet)):
        spec = spec_from({**asked, "resources": {"gpus": gpus}})
        found = compatibility_problems(spec, machine_of(spec, settings))
        assert {one.path for one in found} == wrong
        assert all("resources.gpus" in str(one) for one in found)
    here = spec_from({"optimization": {"precision": "float16"}})
    assert machine_of(here, settings) == this_machine(settings)


def test_what_a_divided_base_cannot_do_is_said_at_its_field():
    where = {"optimization.sharding"}
    assert problems(sharding="fsdp") == set()
    assert problems(sharding="fsdp", devices=1) == where
    assert problems(sharding="fsdp", quantization={"bits": 4}) == where
    assert problems(sharding="fsdp", method={"finetuning_type": "full"}) == where
    assert problems(sharding="fsdp", method={"init": "pissa"}) == where


def test_a_checkpoint_belongs_to_its_run_on_any_number_of_devices():
    one, two = spec_from({}), spec_from({"optimization": {"devices": 2, "sharding": "fsdp"}})
    assert spec_hash(one) == spec_hash(two)
    assert spec_fields(one) == spec_fields(two) == {}


def test_a_run_on_several_devices_has_a_worker_of_its_own():
    assert sharing_key(spec_from({})) is not None
    assert sharing_key(spec_from({"optimization": {"devices": 2}})) is None


def test_a_worker_sees_the_cards_that_its_run_takes():
    assert named_devices(["0", "1", "2"], 2) == "0,1"
    assert named_devices(["cpu"], 2) == "cpu"


def test_one_core_still_tries_out_two_processes(monkeypatch, tmp_path):
    from lora_engine.devices import most_devices

    settings = Settings(data_dir=tmp_path, device="cpu")
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert most_devices(settings) == 2
    assert most_devices(settings.model_copy(update={"device": "mps"})) == 1


def test_a_divided_base_takes_its_share_of_a_card():
    def weights(**optimization) -> float:
        document = {"optimization": optimization, "workload": {"device": "cuda"}}
        request = read_request(preset_source("llama-2-7b"), document)
        return estimate_memory(request).gib_of("weights")

    alone = weights()
    assert weights(devices=4) == alone
    # Four devices hold a quarter of the layers each, and two of 32 layers whole.
    assert 0.25 * alone < weights(devices=4, sharding="fsdp") < 0.4 * alone


class Waiting:
    """A list of runs that wait, each for so many cards, on a machine with one run on card 0."""

    def __init__(self, busy: str | None, wanted: list[int]) -> None:
        self.active = [SimpleNamespace(id="old", device=busy)] if busy else []
        self.waiting = [
            SimpleNamespace(
                id=f"run-{number}",
                sweep=None,
                spec=spec_from({"optimization": {"devices": devices}}),
            )
            for number, devices in enumerate(wanted)
        ]

    def list(self, _states):
        return self.active

    def queue(self):
        return self.waiting


@pytest.mark.parametrize(
    ("busy", "wanted", "started"),
    [
        (None, [2, 1], {"run-0": "0,1", "run-1": "2"}),
        ("0,1", [1, 1], {"run-0": "2"}),
        ("0", [3, 1], {}),  # those behind it wait with it
        (None, [3, 1], {"run-0": "0,1,2"}),
    ],
)
def test_a_run_starts_where_as_many_cards_are_free(monkeypatch, settings, busy, wanted, started):
    monkeypatch.setattr(supervisor, "list_devices", lambda _: ["0", "1", "2"])
    store, found = Waiting(busy, wanted), {}

    def start(_self, records, device):
        found[records[0].id] = device
        store.waiting = store.waiting[1:]

    monkeypatch.setattr(supervisor.Supervisor, "_start", start)
    supervisor.Supervisor(store, settings)._start_waiting()
    assert found == started
