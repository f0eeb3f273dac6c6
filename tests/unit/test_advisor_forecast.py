"""What a run will take, before it starts: rows, steps, memory and time, by every method."""

import json
import math

import pytest

from lora_engine.advisor import METHODS
from lora_engine.advisor.earlier_runs import WORKER_BYTES, EarlierRuns
from lora_engine.advisor.forecast import by_method, forecast, method_name
from lora_engine.advisor.forecast_rows import FirstFigures, first_figures
from lora_engine.advisor.sampled_lengths import SampledLengths
from lora_engine.run_folder import RunResult
from lora_engine.spec import recipe_spec, spec_from
from lora_engine.training import precision
from lora_engine.training.memory.prediction import FILE, Prediction

GIB = 1 << 30


@pytest.fixture(scope="module")
def known():
    return SampledLengths()


@pytest.fixture
def foreseen(settings, known):
    def of(spec, **changes):
        document = spec.model_dump(mode="json")
        for path, value in changes.items():
            section, _, name = path.partition("__")
            document[section] = {**(document[section] or {}), name: value} if name else value
        return forecast(spec_from(document), settings, EarlierRuns(settings.runs_dir).now(), known)

    return of


def finished_run(settings, run_id, spec, tokens_per_s=1000.0, baseline=1 << 29):
    """A folder as a worker leaves it."""
    folder = settings.runs_dir / run_id
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.model_dump_json(), "utf-8")
    result = RunResult(
        state="finished", steps=100, train_loss=1.0, eval_loss=1.0, tokens=20_000,
        tokens_per_s=tokens_per_s, peak_memory_bytes=baseline + (1 << 27), elapsed_s=40.0,
    )  # fmt: skip
    (folder / "result.json").write_text(result.model_dump_json(), "utf-8")
    prediction = Prediction(
        device="cpu", baseline_bytes=baseline, staying_bytes=1 << 25, moving_bytes=1 << 26,
        margin_bytes=0, batch_tokens=200,
    )  # fmt: skip
    (folder / FILE).write_text(prediction.model_dump_json(), "utf-8")


def test_rows_and_steps_are_those_of_the_run(foreseen):
    found = foreseen(recipe_spec("pirate"))
    assert (found.rows, found.evaluated, found.steps) == (688, 76, 258)
    halved = foreseen(recipe_spec("pirate"), optimization__batch_size=16)
    assert halved.steps == 3 * math.ceil(688 / 16)
    assert foreseen(recipe_spec("pirate"), optimization__max_steps=7).steps == 7


def test_time_grows_with_the_epochs_and_memory_with_the_batch(foreseen):
    once = foreseen(recipe_spec("pirate")).chosen
    longer = foreseen(recipe_spec("pirate"), optimization__epochs=6.0).chosen
    assert longer.seconds == pytest.approx(2 * once.seconds, rel=1e-6)
    larger = foreseen(recipe_spec("pirate"), optimization__batch_size=64).chosen
    assert larger.memory_gib > once.memory_gib > WORKER_BYTES / GIB


def test_every_method_has_its_own_figures(foreseen):
    found = foreseen(recipe_spec("pirate")).methods
    assert tuple(found) == METHODS
    assert found["full"].trained > found["dora"].trained > found["lora"].trained == 163_840
    assert found["full"].memory_gib > found["lora"].memory_gib
    assert found["full"].seconds > found["lora"].seconds
    assert all(one.fits for one in found.values())


def test_earlier_runs_on_the_base_tell_the_speed_and_the_workers_memory(foreseen, settings):
    spec = recipe_spec("pirate")
    finished_run(settings, "one", spec, tokens_per_s=1000.0, baseline=2 * GIB)
    found = foreseen(spec)
    assert found.measured_on == 1
    assert found.chosen.seconds == pytest.approx(found.tokens / 1000.0, rel=1e-3)
    assert found.chosen.memory_gib > 2
    assert foreseen(spec, base_model="starter-encoder", task="token_classification",
                    dataset__source="starter:entities").measured_on == 0  # fmt: skip


def test_memory_is_that_of_the_precision_that_the_run_will_take(foreseen, monkeypatch):
    monkeypatch.setattr(precision, "LEAST_NUMBERS", 1)
    found = {}
    for is_fast in (True, False):
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda is_fast=is_fast: is_fast)
        found[is_fast] = foreseen(recipe_spec("pirate")).chosen.memory_gib
        elsewhere = foreseen(recipe_spec("pirate"), launcher="slurm").chosen.memory_gib
        assert elsewhere >= found[is_fast], "of a node's processor nothing is known"
    asked = foreseen(recipe_spec("pirate"), optimization__precision="bfloat16")
    assert found[True] == asked.chosen.memory_gib < found[False]


def test_a_base_in_4_bits_costs_what_making_numbers_of_it_costs(foreseen):
    few, many = (
        foreseen(recipe_spec("pirate"), optimization__batch_size=size).methods for size in (2, 32)
    )
    more = [found["qlora"].seconds / found["lora"].seconds for found in (few, many)]
    assert more[0] > more[1] > 1  # once a batch, however many tokens it has
    assert more[1] < 1.5


def test_runs_tell_the_speed_of_a_base_in_as_many_bits(foreseen, settings):
    spec = recipe_spec("pirate")
    finished_run(settings, "plain", spec, tokens_per_s=1000.0)
    before = foreseen(spec).methods
    finished_run(settings, "few-bits", by_method(spec, "qlora"), tokens_per_s=100.0)
    after = foreseen(spec)
    assert after.methods["lora"].seconds == before["lora"].seconds
    assert after.methods["qlora"].seconds == pytest.approx(10 * before["lora"].seconds, rel=0.01)
    assert after.measured_on == 1


@pytest.mark.parametrize("where", ["cuda", "8 bits"])
def test_what_fewer_bits_cost_is_not_guessed_where_nobody_measured_it(foreseen, monkeypatch, where):
    if where == "cuda":
        monkeypatch.setattr(
            "lora_engine.advisor.forecast_place.pick_device", lambda settings: "cuda"
        )
        monkeypatch.setattr(
            "lora_engine.advisor.forecast_place.available_bytes", lambda device: GIB
        )
        monkeypatch.setattr(
            "lora_engine.advisor.forecast.matmul_flops_per_second", lambda device: 1e12
        )
    found = foreseen(recipe_spec("pirate"), quantization__bits=8 if where == "8 bits" else 4)
    assert found.methods["qlora"].seconds is None
    assert found.methods["qlora"].memory_gib > 0
    assert found.methods["lora"].seconds > 0


@pytest.mark.parametrize("example", ["sums", "entities"])
def test_what_cannot_be_told_is_none_with_a_reason(foreseen, example):
    chosen = foreseen(recipe_spec(example)).chosen
    assert chosen.memory_gib is None
    assert chosen.seconds is None
    assert chosen.why


def test_runs_alone_tell_how_long_sampled_answers_take(foreseen, settings):
    spec = recipe_spec("sums")
    finished_run(settings, "one", spec)
    found = foreseen(spec)
    a_row = 40.0 / (100 * spec.optimization.batch_size)
    assert found.chosen.seconds == pytest.approx(a_row * found.rows * 2, rel=0.05)


def test_a_method_that_the_choices_exclude_says_why(foreseen):
    found = foreseen(recipe_spec("sums")).methods
    assert "lora" in found["prefix"].why
    assert found["prefix"].trained is None


def test_what_does_not_fit_says_what_would(foreseen, monkeypatch):
    most, least = (
        foreseen(recipe_spec("pirate"), optimization__batch_size=size).chosen.memory_gib
        for size in (64, 1)
    )
    few = round((most + least) / 2 * GIB)
    monkeypatch.setattr("lora_engine.advisor.forecast_place.available_bytes", lambda device: few)
    found = foreseen(recipe_spec("pirate"), optimization__batch_size=64)
    assert found.chosen.fits is False
    assert any("batch" in change or "checkpoint" in change for change in found.changes)


@pytest.mark.parametrize("place", ["ray", "slurm"])
def test_a_clusters_run_is_compared_with_what_it_asks_for(foreseen, monkeypatch, place):
    for name in ("pick_device", "available_bytes"):  # this machine's
        monkeypatch.setattr(f"lora_engine.advisor.forecast_place.{name}", None)
    found = foreseen(recipe_spec("pirate"), launcher=place)
    assert (found.place, found.device_gib, found.chosen.fits) == (place, None, None)
    assert found.chosen.memory_gib > 0
    enough = foreseen(recipe_spec("pirate"), launcher=place, resources__memory_gib=8.0)
    assert (enough.device_gib, enough.chosen.fits) == (8.0, True)
    few = foreseen(recipe_spec("pirate"), launcher=place, resources__memory_gib=0.25)
    assert few.chosen.fits is False
    card = foreseen(recipe_spec("pirate"), launcher=place, resources__memory_gib=8.0,
                    resources__gpus=1)  # fmt: skip
    assert (card.device, card.device_gib, card.chosen.fits) == ("cuda", None, None)
    assert card.chosen.memory_gib > 0


def test_runs_of_the_same_place_alone_tell_how_long_it_takes_there(foreseen, settings):
    spec = recipe_spec("pirate")
    finished_run(settings, "here", spec, tokens_per_s=1000.0)
    assert foreseen(spec, launcher="slurm").chosen.seconds is None
    assert foreseen(spec, launcher="slurm").measured_on == 0
    there = spec.model_copy(update={"launcher": "slurm"})
    finished_run(settings, "there", there, tokens_per_s=100.0)
    found = foreseen(there)
    assert (found.measured_on, foreseen(spec).measured_on) == (1, 1)
    assert found.chosen.seconds == pytest.approx(10 * foreseen(spec).chosen.seconds, rel=1e-3)
    assert foreseen(there, resources__gpus=1).chosen.seconds is None


def test_a_base_on_the_hub_is_not_fetched(foreseen):
    found = foreseen(recipe_spec("pirate"), base_model="org/name")
    assert found.rows == 688
    assert found.chosen.memory_gib is None
    assert "hub" in found.chosen.why


def test_a_set_is_tokenized_once(settings, known, monkeypatch):
    spec, earlier = recipe_spec("pirate"), EarlierRuns(settings.runs_dir).now()
    forecast(spec, settings, earlier, known)
    monkeypatch.setattr("lora_engine.advisor.sampled_lengths._measured", None)
    faster = spec.optimization.model_copy(update={"learning_rate": 0.5})
    forecast(spec.model_copy(update={"optimization": faster}), settings, earlier, known)


@pytest.mark.parametrize("name", METHODS)
def test_a_spec_by_another_method_is_that_method(name):
    spec = by_method(recipe_spec("pirate"), name)
    assert method_name(spec) == name
    assert method_name(spec_from(json.loads(spec.model_dump_json()))) == name


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 258),
        ({"batch_size": 16}, 129),
        ({"max_steps": 7}, 7),
        ({"max_tokens_per_batch": 512}, None),
        ({"max_tokens_per_batch": 512, "max_steps": 7}, 7),
    ],
)
def test_rows_and_steps_are_told_first_where_the_rows_alone_decide(settings, changes, steps):
    spec = recipe_spec("pirate")
    spec = spec.model_copy(update={"optimization": spec.optimization.model_copy(update=changes)})
    assert first_figures(spec, settings) == FirstFigures(688, 76, steps)
