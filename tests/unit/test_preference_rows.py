"""Rows that compare two answers, or say of one whether it is good: how they are read."""

import json

import pytest
from transformers import AutoTokenizer

from lora_engine.data import load_dataset, preview
from lora_engine.data.objective_rows import refuse_other_objective
from lora_engine.data.rows import hash_rows
from lora_engine.data.twins import content_key
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import ObjectiveSpec, spec_from

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Ho"}
BAD = {"role": "assistant", "content": "Go away"}
AGAIN = {"role": "user", "content": "And now?"}
HUMAN = "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: And now?\n\nAssistant:"


@pytest.fixture
def read(tmp_path):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)

    def made(*rows, **dataset):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return load_dataset(
            spec_from({"dataset": {"source": str(path), **dataset}}).dataset, settings
        )

    return made


def turns(messages):
    return [(turn.role, turn.content) for turn in messages]


def learned(messages):
    return [turn.content for turn in messages if turn.role == "assistant" and turn.is_learned]


ASKED = [("user", "Hi")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Ho", "rejected": "Go away"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD], "margin": 1.5},
        {"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 8.0},
        {"prompt": "Hi", "messages": [USER, GOOD], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"conversations": [{"from": "human", "value": "Hi"}], "chosen": GOOD, "rejected": BAD},
        {"question": "Hi", "chosen_response": "Ho", "rejected_response": "Go away"},
        {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "Human: Hi\n\nAssistant: Go away"},
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Ho", "rejected": " Go away"},
    ],
)
def test_every_usual_form_of_a_pair_gives_the_same_row(read, row):
    dataset = read(row)
    (pair,) = dataset.rows
    assert dataset.format == "preference"
    assert [(role, text.strip()) for role, text in turns(pair.messages)] == [
        *ASKED,
        ("assistant", "Ho"),
    ]
    assert [(role, text.strip()) for role, text in turns(pair.rejected)] == [
        *ASKED,
        ("assistant", "Go away"),
    ]
    assert not dataset.warnings


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [USER, GOOD, AGAIN, GOOD], "rejected": [USER, GOOD, AGAIN, BAD]},
        {"chosen": HUMAN + " Ho", "rejected": HUMAN + " Go away"},
        {"prompt": [USER, GOOD, AGAIN], "chosen": "Ho", "rejected": "Go away"},
        {"prompt": HUMAN, "chosen": "Ho", "rejected": "Go away"},
    ],
)
def test_what_both_begin_with_is_the_question_and_is_not_learned(read, row):
    (pair,) = read(row).rows
    assert turns(pair.messages)[:3] == turns(pair.rejected)[:3]
    assert learned(pair.messages) == ["Ho"]
    assert learned(pair.rejected) == ["Go away"]


def test_conversations_that_part_early_are_learned_from_there(read):
    (pair,) = read({"chosen": [USER, GOOD, AGAIN, GOOD], "rejected": [USER, BAD]}).rows
    assert learned(pair.messages) == ["Ho", "Ho"]
    assert learned(pair.rejected) == ["Go away"]


def test_an_instruction_keeps_what_it_is_about(read):
    row = {"instruction": "Sort", "input": "3 1", "chosen": "1 3", "rejected": "3 1"}
    (pair,) = read(row).rows
    assert pair.messages[0].content == pair.rejected[0].content == "Sort\n\n3 1"


def test_columns_of_any_name_are_read_where_they_are_named(read):
    row = {"q": "Hi", "response_j": "Ho", "response_k": "Go away"}
    columns = {"prompt": "q", "chosen": "response_j", "rejected": "response_k"}
    (pair,) = read(row, columns=columns).rows
    assert (learned(pair.messages), learned(pair.rejected)) == (["Ho"], ["Go away"])
    row = {"q": "Hi", "a": "Ho", "liked": "false"}
    judged = read(row, columns={"prompt": "q", "answer": "a", "label": "liked"})
    assert judged.format == "kto"
    assert judged.rows[0].is_desirable is False


def test_of_a_judged_chat_the_last_answer_alone_is_learned(read):
    rows = [{"messages": [USER, GOOD, AGAIN, BAD], "label": label} for label in (True, False)]
    assert [learned(row.messages) for row in read(*rows).rows] == [["Go away"]] * 2


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"chosen": "Ho", "rejected": "Go away"}, "row 1: column 'chosen': the question"),
        ({"prompt": "Hi", "chosen": "Ho", "rejected": None}, "column 'rejected': "),
        ({"prompt": "Hi", "chosen": [USER], "rejected": [BAD]}, "chosen ends with user"),
        ({"prompt": "Hi", "chosen": 3, "rejected": "No"}, "column 'chosen': .*a number"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no turn of a user"),
        ({"chosen": [USER, GOOD], "rejected": [AGAIN, BAD]}, "different questions .*'And now"),
        ({"chosen": "Ho", "prompt": "Hi"}, "no column 'rejected'"),
    ],
)
def test_a_pair_that_cannot_be_read_is_refused_with_its_row(read, row, told):
    with pytest.raises(EngineError, match=told):
        read(row, {"prompt": "Hi", "chosen": "Ho", "rejected": "No"}, format="preference")


def test_a_verdict_that_is_none_is_refused_with_its_row(read):
    rows = [{"prompt": "Hi", "completion": "Ho", "label": label} for label in (True, False, None)]
    with pytest.raises(EngineError, match="row 3: column 'label' is empty"):
        read(*rows)
    with pytest.raises(EngineError, match="no column says"):
        read({"prompt": "Hi", "completion": "Ho"}, format="kto")


@pytest.mark.parametrize(
    ("good", "bad"), [("yes", "No"), ("Good", "bad"), ("desirable", "undesirable")]
)
def test_a_verdict_in_words_is_one_and_never_learned_as_if_it_were_not_there(read, good, bad):
    judged = read(*[{"prompt": "Hi", "completion": "Ho", "label": label} for label in (good, bad)])
    assert [row.is_desirable for row in judged.rows] == [True, False]


@pytest.mark.parametrize("odd", [2, 0.5, "maybe", ["no"]])
def test_among_true_and_false_a_verdict_of_another_kind_is_refused(read, odd):
    rows = [{"prompt": "Hi", "completion": "Ho", "label": label} for label in (True, odd, True)]
    with pytest.raises(EngineError, match="row 2: column 'label'.*true or false"):
        read(*rows)


def test_the_other_answer_and_the_verdict_tell_rows_apart(read):
    pair = {"prompt": "Hi", "chosen": "Ho", "rejected": "Go away"}
    first, second = read(pair, {**pair, "rejected": "No"}).rows
    assert content_key(first) != content_key(second)
    assert hash_rows([first]) != hash_rows([second])
    judged = [{"prompt": "Hi", "completion": "Ho", "label": label} for label in (True, False)]
    good, bad = read(*judged).rows
    assert content_key(good) == content_key(bad)
    assert hash_rows([good]) != hash_rows([bad])


def test_thoughts_are_stripped_from_both_answers(read):
    row = {"prompt": "Hi", "chosen": "<think>a</think>Ho", "rejected": "<think>b</think>No"}
    (pair,) = read(row, reasoning="strip").rows
    assert (learned(pair.messages), learned(pair.rejected)) == (["Ho"], ["No"])


@pytest.mark.parametrize("kind", ["dpo", "ipo", "orpo", "simpo", "kto"])
def test_an_objective_refuses_rows_that_it_cannot_learn_from(read, kind):
    objective = ObjectiveSpec.model_validate({"kind": kind})
    refuse_other_objective(objective, read({"prompt": "Hi", "chosen": "a", "rejected": "b"}))
    with pytest.raises(EngineError, match=kind):
        refuse_other_objective(objective, read({"prompt": "Hi", "completion": "Ho"}))
    rows = [{"prompt": "Hi", "completion": "Ho", "label": label} for label in (True, False)]
    if kind == "kto":
        refuse_other_objective(objective, read(*rows))
    else:
        with pytest.raises(EngineError) as refused:
            refuse_other_objective(objective, read(*rows))
        assert "kto" in refused.value.remedy


def preview_of(rows, tmp_path, tiny_llama, max_length=64):
    path = tmp_path / "previewed.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)
    spec = spec_from({"dataset": {"source": str(path)}})
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    return preview(spec.dataset, tokenizer, max_length, settings=settings)


def test_the_preview_shows_both_answers_and_counts_their_tokens(tmp_path, tiny_llama):
    pair = {"prompt": "What colour is the sky?", "chosen": "Blue.", "rejected": "Go to the grass."}
    shown = preview_of([pair, {**pair, "rejected": pair["chosen"]}], tmp_path, tiny_llama)
    first, second = shown.examples
    assert first.rejected is not None
    for one, answer in ((first, "Blue."), (first.rejected, "Go to the grass.")):
        learned = "".join(token.text for token in one.tokens if token.supervised)
        assert learned.removesuffix("<eos>") == answer
    sides = (first, first.rejected, second, second.rejected)
    assert shown.tokens == sum(one.total_tokens for one in sides)
    assert any("the rejected one" in warning and "(2)" in warning for warning in shown.warnings)


def test_the_preview_says_of_judged_answers_whether_they_are_good(tmp_path, tiny_llama):
    rows = [{"prompt": "Hi", "completion": "Ho", "label": label} for label in (True, False)]
    shown = preview_of(rows, tmp_path, tiny_llama)
    assert [one.is_desirable for one in shown.examples] == [True, False]
    assert shown.format == "kto"


def test_a_pair_is_left_out_where_either_answer_is_cut_away(tmp_path, tiny_llama):
    long = "Xylophones quiz. " * 8
    rows = [
        {"prompt": "Hi", "chosen": "Ho", "rejected": "No"},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD, {"role": "user", "content": long}, BAD]},
        {"prompt": long, "chosen": "Ho", "rejected": "No"},
    ]
    shown = preview_of(rows, tmp_path, tiny_llama, max_length=24)
    assert shown.dropped_rows == 1
    assert shown.truncated_rows == 2
    assert any(line.startswith("Rejected answers: ") for line in shown.warnings)
