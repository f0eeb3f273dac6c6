"""Streaming, stopping, seeds, fairness and refusals of the comparison."""

import threading
import time

import pytest

from lora_engine.cancellation import StopSignal
from lora_engine.compare.generate import comparison_model as model_module
from lora_engine.compare.generate.adapter_settings import AdapterSettings
from lora_engine.compare.generate.comparison_model import AnswerRequest, ComparisonModel
from lora_engine.compare.generate.mixed_lora_layer import MAX_FACTORS
from lora_engine.compare.generate.model_pool import ComparisonPool
from lora_engine.compare.generate.prompt_set import answer_prompts, compare_prompts
from lora_engine.compare.generate.shared_base import FairLock
from lora_engine.data import Message
from lora_engine.errors import EngineError, NotFound
from lora_engine.generation.sampling import Sampling
from lora_engine.settings import Settings
from tests.compare_models import save_adapter, save_base

ASK = [Message("user", "Say something.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def base(folder):
    return save_base(folder / "base")


@pytest.fixture(scope="module")
def adapter(folder, base):
    return save_adapter(folder / "adapter", base)


@pytest.fixture(scope="module")
def shared(base, adapter, folder):
    settings = Settings(data_dir=folder / "data", device="cpu")
    return ComparisonModel.load(base, {"adapter": adapter}, settings).shared


@pytest.fixture
def model(shared, adapter):
    return ComparisonModel(shared, {"adapter": adapter})


def texts(progress) -> dict[str, str]:
    return {name: column.text for name, column in progress.columns.items()}


def final(steps):
    *_, last = steps
    return last


def test_text_only_grows_and_never_shows_half_a_character(model, monkeypatch):
    monkeypatch.setattr(model_module, "SLICE_S", 0.0)
    seen = {"base": "", "adapter": ""}
    for progress in model.answer(dict.fromkeys(seen, ASK), Sampling(max_new_tokens=30)):
        for name, column in progress.columns.items():
            if column.finished is None:
                assert not column.text.endswith("\ufffd")
            assert column.text.startswith(seen[name])
            seen[name] = column.text
    assert progress.finished
    assert progress.columns["base"].tokens == 30
    assert progress.columns["base"].finished == "token limit"
    assert 0 < progress.columns["base"].first_token_s <= progress.elapsed_s


class SetAfter(StopSignal):
    """Set from the check after the first `checks` on, which come once a token."""

    def __init__(self, checks):
        super().__init__()
        self.left = checks

    def is_set(self):
        self.left -= 1
        return self.left < 0


def test_stop_acts_before_the_next_token(model):
    questions = {"base": ASK, "adapter": ASK}
    last = final(model.answer(questions, Sampling(max_new_tokens=400), SetAfter(5)))
    assert {column.finished for column in last.columns.values()} == {"stopped"}
    assert all(column.tokens == 5 for column in last.columns.values())


def test_the_seed_gives_the_same_answer_and_another_seed_another(model):
    def answers(seed):
        sampling = Sampling(max_new_tokens=20, temperature=1.0, top_p=0.95, seed=seed)
        return texts(final(model.answer({"base": ASK, "adapter": ASK}, sampling)))

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


def test_a_sampled_answer_does_not_depend_on_the_other_columns(model):
    sampling = Sampling(max_new_tokens=20, temperature=0.8, seed=3)
    together = texts(final(model.answer({"base": ASK, "adapter": ASK}, sampling)))
    for column in together:
        assert texts(final(model.answer({column: ASK}, sampling)))[column] == together[column]


def test_an_abandoned_answer_holds_nothing(model):
    abandoned = model.answer({"base": ASK}, Sampling(max_new_tokens=400))
    next(abandoned)
    assert final(model.answer({"base": ASK}, Sampling(max_new_tokens=3))).finished


def test_two_callers_are_served_by_turns(model):
    order = []

    def ask(name):
        for _ in model.answer({"base": ASK}, Sampling(max_new_tokens=250)):
            order.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    first_done = min(len(order) - order[::-1].index(name) for name in "ab")
    assert set(order[:first_done]) == {"a", "b"}


def test_a_fair_lock_hands_on_in_order():
    lock, order = FairLock(), []

    def take(name):
        with lock:
            order.append(name)

    with lock:
        threads = []
        for name in range(5):
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            while len(lock._waiting) <= name:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]


def test_strength_0_is_the_base_and_1_the_adapter(model):
    asked = [
        AnswerRequest("base", "base", ASK),
        AnswerRequest("0", "adapter", ASK, AdapterSettings(0.0)),
        AnswerRequest("1", "adapter", ASK, AdapterSettings(1.0)),
        AnswerRequest("plain", "adapter", ASK),
        AnswerRequest("off", "adapter", ASK, AdapterSettings(layers_off=frozenset({0, 1}))),
        AnswerRequest("half off", "adapter", ASK, AdapterSettings(layers_off=frozenset({1}))),
    ]
    answers = texts(final(model.answer_all(asked, Sampling(max_new_tokens=20))))
    assert answers["0"] == answers["base"] == answers["off"]
    assert answers["1"] == answers["plain"] != answers["base"]
    assert answers["half off"] not in (answers["base"], answers["plain"])


@pytest.mark.parametrize(
    ("column", "layers", "said"),
    [("adapter", {1, 5, 6}, "does not act on layer 5-6"), ("base", {0}, "no adapter's column")],
)
def test_layers_that_an_adapter_has_not_are_refused(model, column, layers, said):
    asked = AnswerRequest("x", column, ASK, AdapterSettings(layers_off=frozenset(layers)))
    with pytest.raises(EngineError, match=said):
        model.answer_all([asked], Sampling())


def test_a_layer_keeps_few_scaled_copies_however_many_strengths_are_asked(model):
    strengths = [step / 20 for step in range(41)]
    asked = [AnswerRequest(f"{s}", "adapter", ASK, AdapterSettings(s)) for s in strengths]
    answers = texts(final(model.answer_all(asked, Sampling(max_new_tokens=4))))
    alone = texts(final(model.answer_all(asked[5:6], Sampling(max_new_tokens=4))))
    assert answers["0.25"] == alone["0.25"]
    assert all(len(layer._factors) <= MAX_FACTORS for layer in model.shared.switch._layers)


@pytest.mark.parametrize("strength", [-0.1, 4.1, float("nan")])
def test_a_strength_out_of_bounds_is_refused(model, strength):
    with pytest.raises(EngineError, match="strength"):
        model.answer_all(
            [AnswerRequest("x", "adapter", ASK, AdapterSettings(strength))], Sampling()
        )


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        ([], "empty"),
        ([Message("user", " \n")], "empty"),
        ([Message("user", "x" * 100_000)], "tokens"),
        ([Message("user", "x" * 1_000_000)], "1,000,000 characters"),
        ([Message("user", "hello <eos> world")], "'<eos>'"),
        ([Message("assistant", "hello")], "last message"),
        ([Message("tool", "hello"), Message("user", "x")], "role 'tool'"),
    ],
)
def test_a_chat_that_cannot_be_answered_is_refused_at_once(shared, turns, found):
    model = ComparisonModel(shared, {}, "chat")
    with pytest.raises(EngineError, match=found):
        model.answer({"base": turns}, Sampling())


def test_an_unknown_column_lists_the_known_ones(model):
    with pytest.raises(NotFound, match="base, adapter"):
        model.answer({"other": ASK}, Sampling())


def test_an_answer_ends_where_the_context_is_full(model):
    turns = [Message("user", "x" * 490)]
    last = final(model.answer({"base": turns}, Sampling(max_new_tokens=500)))
    assert last.columns["base"].finished == "context full"
    assert last.columns["base"].tokens < 40


def test_a_base_without_adapters_answers(base, settings):
    model = ComparisonModel.load(base, {}, settings)
    assert final(model.answer({"base": ASK}, Sampling(max_new_tokens=2))).finished


def test_the_pool_keeps_the_base_and_reloads_a_changed_one(folder, adapter, settings, base):
    pool = ComparisonPool(settings)
    first = pool.get(base, {})
    second = pool.get(base, {"adapter": adapter})
    assert first.shared is second.shared
    assert pool.loaded() == "llama"
    other = save_base(folder / "other", seed=9)
    assert pool.get(other, {}).shared is not first.shared
    save_base(folder / "other", seed=10)
    assert pool.get(other, {}).shared.fingerprint != first.shared.fingerprint
    pool.unload()
    assert pool.loaded() is None


def test_an_answer_goes_on_where_its_model_is_unloaded_meanwhile(folder, base, settings):
    pool = ComparisonPool(settings)
    model = pool.get(base, {})
    whole = texts(final(model.answer({"base": ASK}, Sampling(max_new_tokens=200))))
    steps = model.answer({"base": ASK}, Sampling(max_new_tokens=200))
    next(steps)
    pool.unload()
    pool.get(save_base(folder / "meanwhile", seed=11), {})
    assert texts(final(steps)) == whole


def test_an_adapter_written_anew_is_read_anew(folder, base, settings):
    path = save_adapter(folder / "changing", base, seed=3)
    model = ComparisonModel.load(base, {"x": path}, settings)
    before = texts(final(model.answer({"x": ASK}, Sampling(max_new_tokens=12))))
    save_adapter(path, base, seed=4)
    assert texts(final(model.answer({"x": ASK}, Sampling(max_new_tokens=12)))) != before


def test_the_longest_unused_adapter_makes_room(folder, base, settings, monkeypatch):
    from lora_engine.compare.generate import shared_base as shared_module

    monkeypatch.setattr(shared_module, "MAX_ADAPTERS", 2)
    paths = [save_adapter(folder / f"room{seed}", base, seed=seed) for seed in range(3)]
    model = ComparisonModel.load(base, {}, settings)
    for number, path in enumerate(paths):
        model.add_adapter(str(number), path)
    assert len(model.shared._checks) == 2
    asked = dict.fromkeys(("base", "0", "1", "2"), ASK)
    answers = texts(final(model.answer(asked, Sampling(max_new_tokens=9))))
    assert len(set(answers.values())) == 4  # none of the adapters answers as the base


def test_an_adapter_that_fails_to_load_leaves_the_base_usable(folder, base, settings, monkeypatch):
    path = save_adapter(folder / "failing", base, seed=3, target_modules=["q_proj"])
    model = ComparisonModel.load(base, {}, settings)
    before = texts(final(model.answer({"base": ASK}, Sampling(max_new_tokens=9))))
    config = path / "adapter_config.json"
    config.write_text(config.read_text().replace('"q_proj"', '"q_proj", "k_proj"'))
    with pytest.raises(EngineError, match="not whole"):
        model.add_adapter("failing", path)
    assert texts(final(model.answer({"base": ASK}, Sampling(max_new_tokens=9)))) == before
    config.write_text(config.read_text().replace('"q_proj", "k_proj"', '"q_proj"'))
    model.add_adapter("mended", path)
    after = texts(final(model.answer({"mended": ASK}, Sampling(max_new_tokens=9))))
    assert after["mended"] != before["base"]


def test_prompts_are_answered_in_order_as_the_chat_answers_them(base, adapter, settings, model):
    prompts = [f"{number}?" for number in range(11)]
    sampling = Sampling(max_new_tokens=6)
    result = compare_prompts(base, {"adapter": adapter}, prompts, sampling, settings).as_json()
    assert [row["prompt"] for row in result["prompts"]] == prompts
    assert result["elapsed_s"] > 0
    for row in result["prompts"]:
        assert [answer["name"] for answer in row["answers"]] == ["base", "adapter"]
    turns = [Message("user", prompts[7])]
    alone = texts(final(model.answer({"base": turns, "adapter": turns}, sampling)))
    assert {answer["name"]: answer["text"] for answer in result["prompts"][7]["answers"]} == alone


def test_stopped_prompts_are_left_out(model):
    answers = answer_prompts(model, ["a", "b"] * 10, Sampling(max_new_tokens=5), SetAfter(9))
    assert 0 < len(list(answers)) < 20


@pytest.mark.parametrize("prompts", [[], ["fine", " "]])
def test_empty_prompts_are_refused(model, prompts):
    with pytest.raises(EngineError, match="no prompts|Prompt 2"):
        list(answer_prompts(model, prompts, Sampling()))
