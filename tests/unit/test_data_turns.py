"""What a turn says is honoured or refused: flags, tools, thoughts, parts, roles, system texts."""

import json

import pytest

from lora_engine.data import load_dataset
from lora_engine.errors import EngineError
from lora_engine.settings import Settings
from lora_engine.spec import spec_from

USER = {"role": "user", "content": "Hi"}
CALL = {"name": "warmth", "arguments": {"city": "Oslo"}}
FULL_CALL = {"type": "function", "function": CALL}
TOOL = {"name": "warmth", "parameters": {}}


def answer(**more):
    return {"role": "assistant", "content": "Ho", **more}


def chat(*turns, **columns):
    return {"messages": list(turns), **columns}


@pytest.fixture
def read(tmp_path):
    def made(*rows, **dataset):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        spec = spec_from({"dataset": {"source": str(path), **dataset}}).dataset
        return load_dataset(spec, Settings(data_dir=tmp_path, models_dir=tmp_path))

    return made


def last(dataset):
    return dataset.rows[0].messages[-1]


@pytest.mark.parametrize(
    ("flag", "learned"),
    [
        ({"weight": 0}, False),
        ({"weight": 0.0}, False),
        ({"weight": 1}, True),
        ({"weight": None}, True),
        ({"weight": "0"}, False),
        ({"train": False}, False),
        ({"train": True}, True),
        ({"training": False}, False),
        ({"loss_weight": 0.0}, False),
        ({"loss_weight": 1.0}, True),
        ({"loss": False}, False),
        ({"trainable": False}, False),
        ({"masked": True}, False),
        ({"masked": False}, True),
        ({"ignore": 1}, False),
    ],
)
def test_a_turn_is_learned_as_it_says(read, flag, learned):
    assert last(read(chat(USER, answer(**flag)))).is_learned is learned
    shared = {"conversations": [{"from": "human", "value": "Hi"}]}
    shared["conversations"].append({"from": "gpt", "value": "Ho", **flag})
    assert last(read(shared)).is_learned is learned


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ({"weight": 0.5}, "weight 0.5"),
        ({"weight": 2}, "weight 2"),
        ({"train": "some"}, "train text"),
        ({"weight": 1, "train": False}, "train and weight"),
        ({"mask": 1}, "mask"),
        ({"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]}, "train_detail"),
        ({"refusal": "I will not."}, "refusal"),
        ({"images": ["a.png"]}, "images"),
    ],
)
def test_what_no_turn_can_honour_is_refused_with_row_turn_and_key(read, flag, said):
    with pytest.raises(EngineError, match=rf"row 2: messages\[2\].*{said}"):
        read(chat(USER, answer()), chat(USER, answer(**flag)))


def test_a_question_that_asks_to_be_learned_is_named(read):
    dataset = read(chat({**USER, "weight": 1}, answer()), chat({**USER, "train": False}, answer()))
    (warning,) = dataset.warnings
    assert "weight" in warning
    assert "1 row (1)" in warning


def test_a_key_of_turns_that_is_not_read_is_named_unless_it_is_harmless(read):
    dataset = read(chat(USER, answer(id=7, timestamp="noon", channel="final")))
    (warning,) = dataset.warnings
    assert "'channel'" in warning
    asked = read(chat({**USER, "thinking": "Hm."}, answer()))
    assert "'thinking'" in asked.warnings[0]
    assert read(chat(USER, answer(id=7))).content_hash == read(chat(USER, answer())).content_hash


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [FULL_CALL]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": json.dumps([FULL_CALL])},
        {"role": "assistant", "content": None, "function_call": CALL},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {**CALL, "arguments": json.dumps(CALL["arguments"])}}],
        },
        {"role": "assistant", "content": [{"type": "tool_call", "value": json.dumps(CALL)}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "name": "warmth", "input": CALL["arguments"]}],
        },
        {"from": "function_call", "value": json.dumps(CALL)},
        {"role": "tool_call", "content": json.dumps(CALL)},
    ],
)
def test_every_spelling_of_a_call_becomes_the_one_that_templates_read(read, turn):
    message = last(read(chat(USER, turn)))
    assert (message.role, message.content) == ("assistant", "")
    assert json.loads(message.tool_calls) == [FULL_CALL]


def test_the_call_that_follows_a_text_belongs_to_its_turn(read):
    turns = [
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Let me look."},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": "3"},
        {"from": "gpt", "value": "Three."},
    ]
    (row,) = read({"conversations": turns}).rows
    assert [turn.role for turn in row.messages] == ["user", "assistant", "tool", "assistant"]
    assert row.messages[1].content == "Let me look."
    assert json.loads(row.messages[1].tool_calls) == [FULL_CALL, FULL_CALL]


@pytest.mark.parametrize(
    "tools", [[TOOL], json.dumps([TOOL]), [{"type": "function", "function": TOOL}]]
)
@pytest.mark.parametrize("column", ["tools", "functions"])
def test_tools_are_the_rows(read, column, tools):
    (row,) = read(chat(USER, answer(), **{column: tools})).rows
    assert json.loads(row.tools) == [{"type": "function", "function": TOOL}]


def test_a_tools_turn_keeps_its_name_and_call(read):
    turn = {"role": "tool", "content": "3", "name": "warmth", "tool_call_id": "c1", "weight": None}
    message = last(read(chat(USER, turn)))
    assert (message.role, message.content) == ("tool", "3")
    assert json.loads(message.extra) == {"name": "warmth", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"role": "assistant", "content": None}, r"messages\[2\]"),
        (answer(tool_calls=[{"function": {"name": "f", "arguments": "{"}}]), "arguments"),
        (
            answer(tool_calls=[{"function": {"name": "f", "arguments": "3"}}]),
            "arguments are a number",
        ),
        (answer(tool_calls=[{"arguments": {"a": 1}}]), "no call"),
        ({"from": "function_call", "value": "warmth of Oslo"}, "not JSON"),
        ({**USER, "tool_calls": [CALL]}, "only a turn of the assistant's"),
    ],
)
def test_a_call_that_cannot_be_read_is_refused_with_its_turn(read, turn, said):
    with pytest.raises(EngineError, match=rf"row 1: .*{said}"):
        read(chat(USER, turn))


@pytest.mark.parametrize(
    "turn",
    [
        answer(reasoning_content="Hm."),
        answer(reasoning="Hm."),
        answer(thinking="Hm."),
        answer(thinking=[{"type": "text", "text": "Hm."}]),
        answer(content=[{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Ho"}]),
        answer(content=[{"type": "reasoning", "value": "Hm."}, {"type": "text", "value": "Ho"}]),
    ],
)
def test_thoughts_are_read_in_every_spelling(read, turn):
    message = last(read(chat(USER, turn)))
    assert (message.reasoning, message.content) == ("Hm.", "Ho")


def test_thoughts_in_a_column_belong_to_the_answer(read):
    for row in (
        {"prompt": "Hi", "completion": "Ho", "reasoning_content": "Hm."},
        {"instruction": "Hi", "output": "Ho", "thinking": "Hm."},
    ):
        message = last(read(row))
        assert (message.reasoning, message.content) == ("Hm.", "Ho")


INSIDE = "<think>\nHm.\n</think>\n\nHo"


@pytest.mark.parametrize(
    ("turn", "content"),
    [
        (answer(reasoning="Hm."), "Ho"),
        (answer(content=INSIDE), INSIDE),
        (answer(content="Hm.\n</think>\n\nHo"), "Hm.\n</think>\n\nHo"),
        (answer(content="[THINK]Hm.[/THINK]Ho"), "[THINK]Hm.[/THINK]Ho"),
    ],
)
def test_thoughts_are_learned_kept_or_stripped(read, turn, content):
    learned, kept, stripped = (
        read(chat(USER, turn), reasoning=setting) for setting in ("learn", "keep", "strip")
    )
    assert (last(learned).content, last(learned).is_reasoning_learned) == (content, True)
    assert (last(kept).content, last(kept).is_reasoning_learned) == (content, False)
    assert (last(stripped).content, last(stripped).reasoning) == ("Ho", "")
    assert len({learned.content_hash, kept.content_hash, stripped.content_hash}) == 3
    plain = [read(chat(USER, answer()), reasoning=s) for s in ("learn", "keep", "strip")]
    assert len({dataset.content_hash for dataset in [*plain, stripped]}) == 1


def test_thoughts_that_never_end_cannot_be_told_from_the_answer(read):
    row = chat(USER, answer(content="<think>Hm. Ho"))
    assert last(read(row)).content == "<think>Hm. Ho"
    with pytest.raises(EngineError, match="row 1: .*<think>.*never end"):
        read(row, reasoning="strip")


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}],
        [{"type": "text", "value": "One "}, {"type": "text", "value": "two"}],
        ["One ", "two"],
        [{"type": "input_text", "text": "One "}, {"type": "output_text", "text": "two"}],
        {"type": "text", "text": "One two"},
        [{"text": "One two"}],
    ],
)
def test_parts_of_text_are_joined_as_they_stand(read, content):
    (row,) = read(chat({"role": "user", "content": content}, answer())).rows
    assert row.messages[0].content == "One two"


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video", "file", "refusal"])
def test_other_parts_are_refused_by_their_type(read, kind):
    parts = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "a.png"}}]
    with pytest.raises(EngineError, match=rf"row 1: messages\[1\], part 2 .*{kind}"):
        read(chat({"role": "user", "content": parts}, answer()))


def test_a_part_that_is_not_to_be_learned_is_refused(read):
    parts = [{"type": "text", "text": "Ho", "train": False}, {"type": "text", "text": "ho"}]
    with pytest.raises(EngineError, match=r"row 1: messages\[2\], part 1"):
        read(chat(USER, answer(content=parts)))


@pytest.mark.parametrize(
    ("role", "means"),
    [
        ("developer", "system"),
        ("human", "user"),
        ("User", "user"),
        ("input", "user"),
        ("model", "assistant"),
        ("bot", "assistant"),
        ("chatgpt", "assistant"),
        ("ai", "assistant"),
        ("output", "assistant"),
        ("function", "tool"),
        ("observation", "tool"),
    ],
)
def test_known_names_of_roles_are_read(read, role, means):
    assert last(read(chat(USER, {"role": role, "content": "x"}))).role == means


@pytest.mark.parametrize("column", ["system", "system_prompt", "system_message"])
@pytest.mark.parametrize(
    "row",
    [
        chat(USER, answer()),
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        {"prompt": "Hi", "completion": "Ho"},
        {"instruction": "Hi", "output": "Ho"},
    ],
)
def test_a_system_column_is_the_first_turn(read, row, column):
    found = read({**row, column: "Be kind."}).rows[0].messages
    told = [(turn.role, turn.content) for turn in found]
    assert told == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Ho")]


def test_a_system_text_stands_once_and_two_that_differ_are_refused(read):
    turns = [{"role": "system", "content": "Be kind."}, USER, answer()]
    assert len(read(chat(*turns, system="Be kind.")).rows[0].messages) == 3
    assert len(read(chat(*turns, system=None)).rows[0].messages) == 3
    with pytest.raises(EngineError, match="row 1: .*system"):
        read(chat(*turns, system="Be brief."))
    with pytest.raises(EngineError, match="row 1: .*system and system_prompt"):
        read(chat(USER, answer(), system="Be kind.", system_prompt="Be brief."))


def test_only_the_last_learned_answer_is_learned_where_the_spec_says_so(read):
    row = chat(USER, answer(), USER, answer(), USER, answer(weight=0))
    flags = [turn.is_learned for turn in read(row).rows[0].messages if turn.role == "assistant"]
    assert flags == [True, True, False]
    last_only = read(row, turns="last")
    kept = [turn.is_learned for turn in last_only.rows[0].messages if turn.role == "assistant"]
    assert kept == [False, True, False]
    assert last_only.content_hash != read(row).content_hash  # other tokens are learned
    single = chat(USER, answer())
    assert read(single, turns="last").content_hash == read(single).content_hash
    alpaca = {"instruction": "c", "output": "d", "history": [["a", "b"]]}
    assert [t.is_learned for t in read(alpaca, turns="last").rows[0].messages[1::2]] == [
        False,
        True,
    ]
