"""The data check: each kind of finding on rows made for it, and the cleaned set."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data import load_dataset
from lora_engine.data.checks import FindingKind, check_dataset, save_cleaned, write_cleaned
from lora_engine.data.checks.findings import kinds_named
from lora_engine.data.checks.single_rows import problems_of
from lora_engine.data.rows import Dataset, Message, Row, SetPart, hash_rows
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.spec import DatasetSpec


def chat(number, *turns, **fields):
    roles = ("user", "assistant")
    messages = [
        turn if isinstance(turn, Message) else Message(roles[place % 2], turn)
        for place, turn in enumerate(turns)
    ]
    return Row(number, tuple(messages), None, **fields)


def dataset(*rows, format="messages"):
    return Dataset("rows.jsonl", format, tuple(rows), hash_rows(rows))


def found_in(*rows, **options):
    check = check_dataset(dataset(*rows), **options)
    return {finding.kind: list(finding.places) for finding in check.findings}


SINGLE = [
    (chat(1, "Why?", ""), FindingKind.EMPTY_ANSWER),
    (chat(1, "Say this.", " Say  this. "), FindingKind.ANSWER_IS_QUESTION),
    (chat(1, "Why?"), FindingKind.NO_ANSWER),
    (
        chat(1, "Why?", Message("assistant", "So.", is_learned=False)),
        FindingKind.NO_ANSWER,
    ),
    (chat(1, Message("assistant", "Hello."), Message("user", "Hi.")), FindingKind.ROLES),
    (chat(1, Message("user", "One."), Message("user", "Two."), "Yes."), FindingKind.ROLES),
    (chat(1, "Why?", "A caf\u00c3\u00a9."), FindingKind.BROKEN_TEXT),
    (chat(1, "Why?", "K\u00c3\u2013LN."), FindingKind.BROKEN_TEXT),
    (chat(1, "Why?", "Er w\u00c3\u00a4re."), FindingKind.BROKEN_TEXT),
    (chat(1, "Key?", "sk-proj-" + "aB3" * 10), FindingKind.SECRET),
    (chat(1, "Why?", "A \ufffd."), FindingKind.BROKEN_TEXT),
    (chat(1, "Why?", "A\x00."), FindingKind.BROKEN_TEXT),
    (chat(1, "Why?", "So.<|im_end|>"), FindingKind.TEMPLATE_LEFTOVER),
    (chat(1, "[INST] Why? [/INST]", "So."), FindingKind.TEMPLATE_LEFTOVER),
    (chat(1, "Who?", "Write to jane.doe@firm.co"), FindingKind.SECRET),
    (chat(1, "Key?", "hf_" + "a" * 34), FindingKind.SECRET),
    (chat(1, "Why?", "<p><b>So</b></p> <br>"), FindingKind.MARKUP),
    (Row(1, (), "  "), FindingKind.NO_ANSWER),
]


@pytest.mark.parametrize(("row", "kind"), SINGLE)
def test_each_kind_is_found_in_a_row_by_itself(row, kind):
    assert kind in dict(problems_of(row))


@pytest.mark.parametrize(
    "row",
    [
        chat(1, "Why is the sky blue?", "Light of short waves is scattered more."),
        chat(
            1, Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "So.")
        ),
        chat(1, "Write to whom?", "Write to jane@example.com."),
        chat(1, "Was kostet das Café?", "Drei Euro, sagt Zoë – „sehr günstig“."),
        chat(1, "为什么天空是蓝色的？", "因为短波光散射更强。"),
        chat(
            1,
            "What is 2 + 2?",
            Message("assistant", "", tool_calls='[{"name": "add"}]'),
            Message("tool", "4"),
            Message("assistant", "4."),
        ),
        chat(1, "How do I clone it?", "git clone git@github.com:org/it.git"),
        chat(1, "Which pictures?", "icon@2x.png, and lodash@4.17.21 in the lock file."),
        chat(1, "Where is it?", "See /sk-a-small-town-by-the-river."),
        chat(1, "O que diz?", "Diz “ATÉ AMANHÔ."),
        Row(1, (), "Once upon a time."),
        Row(1, (), "A good film.", label="good"),
    ],
)
def test_ordinary_rows_have_nothing_wrong(row):
    assert dict(problems_of(row)) == {}


def test_a_secret_is_counted_and_never_shown():
    check = check_dataset(dataset(chat(1, "Key?", "hf_" + "a" * 34)))
    (finding,) = check.findings
    assert finding.kind is FindingKind.SECRET
    assert "hf_" not in json.dumps(check.to_json())


def test_repeats_near_repeats_and_contradictions_name_the_later_rows():
    rows = [
        chat(1, "What is a cow?", "An animal."),
        chat(2, "What is a cow?", "An animal."),
        chat(3, "what is a COW", "an animal"),
        chat(4, "What is a cow?", "A plant."),
        chat(5, "What is 2 + 3?", "5"),
        chat(6, "What is 2 - 3?", "-1"),
        chat(7, "What is 2.5?", "2.5"),
        chat(8, "What is 25?", "25"),
    ]
    assert found_in(*rows) == {
        FindingKind.DUPLICATE: [1],
        FindingKind.NEAR_DUPLICATE: [2],
        FindingKind.CONTRADICTION: [3],
    }


def test_rows_that_compare_or_judge_answers_differ_in_them_by_design():
    pair = chat(1, "Why?", "So.")
    pairs = [replace(pair, number=n, rejected=chat(n, "Why?", f"No {n}.").messages) for n in (1, 2)]
    judged = [replace(chat(n, "Why?", f"So {n}."), is_desirable=n == 1) for n in (1, 2)]
    thoughts = [
        chat(n, "Why?", Message("assistant", "So.", reasoning=f"Because {n}.")) for n in (1, 2)
    ]
    for rows in (pairs, judged, thoughts):
        assert found_in(*rows) == {}


def test_texts_among_chats_have_no_answer_in_common():
    texts = [Row(n, (), f"Text {n}.") for n in range(1, 31)]
    assert found_in(*texts, chat(31, "Why?", "So.")) == {}


def test_one_answer_for_most_questions_is_found_where_rows_are_many():
    same = [chat(n, f"Question {n}?", "I do not know.") for n in range(1, 21)]
    others = [chat(n, f"Question {n}?", f"Answer {n}.") for n in range(21, 31)]
    assert found_in(*same, *others)[FindingKind.SAME_ANSWER] == list(range(20))
    assert FindingKind.SAME_ANSWER not in found_in(*same[:19], *others)


def test_classes_with_few_rows_are_found_and_common_ones_are_not():
    rows = [Row(n, (), f"text {n}", label="good" if n < 20 else "bad") for n in range(23)]
    check = check_dataset(dataset(*rows, format="classification"))
    assert {f.kind: list(f.places) for f in check.findings} == {
        FindingKind.RARE_CLASS: [20, 21, 22]
    }


def test_held_out_rows_that_are_nearly_in_training_are_a_leak():
    rows = [chat(1, "Why?", "So."), chat(2, "How?", "Thus.")]
    assert found_in(*rows, held_out=[chat(9, "why", "So!")]) == {FindingKind.LEAK: [0]}


def test_the_limit_tells_cut_rows_from_lost_answers(tokenizer):
    short, long = "cow " * 3, "cow " * 60
    rows = [chat(1, "A dog?", short), chat(2, short, long), chat(3, long, short)]
    found = found_in(*rows, tokenizer=tokenizer, max_length=40)
    assert found == {FindingKind.CUT: [1], FindingKind.LOST_ANSWER: [2]}


def test_control_tokens_of_the_model_are_found(tokenizer):
    row = chat(1, "Why?", "So <|bos|> it is.")
    found = found_in(row, tokenizer=tokenizer, max_length=99)
    assert found == {FindingKind.CONTROL_TOKEN: [0]}


@pytest.fixture(scope="module")
def tokenizer():
    from lora_engine.base_models import load_tokenizer, resolve_base_model

    return load_tokenizer(resolve_base_model("starter", load_settings({})))


def test_the_cleaned_set_reads_back_as_the_rows_that_were_kept(tmp_path):
    tool = json.dumps([{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}])
    kept = chat(
        1,
        Message("system", "Be brief."),
        Message("user", "Ünï 日本?"),
        Message("assistant", "No.", is_learned=False),
        Message("user", "And 1 + 1?"),
        Message("assistant", "", reasoning="Adding.", tool_calls=tool),
        Message("tool", "2", extra='{"name": "add"}'),
        Message("assistant", "2."),
    )
    rows = dataset(kept, chat(2, "Why?", ""), chat(3, "Why?", ""))
    check = check_dataset(rows)
    out = tmp_path / "out.jsonl"
    cleaned = write_cleaned(rows, check, [FindingKind.EMPTY_ANSWER, FindingKind.DUPLICATE], out)
    assert (cleaned.rows, cleaned.removed) == (1, {"empty_answer": 2})
    again = load_dataset(DatasetSpec(source=str(out)), load_settings({}))
    assert again.content_hash == hash_rows([kept])


PLAIN = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8))
def test_any_text_survives_being_written_and_read(tmp_path_factory, pairs):
    rows = [chat(n, f"q {asked}", f"a {said}") for n, (asked, said) in enumerate(pairs, 1)]
    whole = dataset(*rows, chat(99, "Why?", ""))
    out = tmp_path_factory.mktemp("cleaned") / "out.jsonl"
    write_cleaned(whole, check_dataset(whole), [FindingKind.EMPTY_ANSWER], out)
    again = load_dataset(DatasetSpec(source=str(out)), load_settings({}))
    assert [[t.content for t in row.messages] for row in again.rows] == [
        [t.content for t in row.messages] for row in rows
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "completion": "So.", "label": False},
    ],
)
def test_rows_that_compare_answers_read_back_as_they_were(tmp_path, settings, row):
    path, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    equal = {key: "Same." if isinstance(value, str) else value for key, value in row.items()}
    path.write_text("".join(json.dumps(one) + "\n" for one in (row, equal, equal)), "utf-8")
    rows = load_dataset(DatasetSpec(source=str(path)), settings)
    check = check_dataset(rows)
    kind = FindingKind.EQUAL_PAIR if "rejected" in row else FindingKind.ANSWER_IS_QUESTION
    assert check.places_of([kind]) == {1, 2}
    write_cleaned(rows, check, [kind], out)
    again = load_dataset(DatasetSpec(source=str(out)), settings)
    assert (again.format, again.content_hash) == (rows.format, hash_rows([rows.rows[0]]))


@pytest.mark.parametrize(
    ("source", "format"),
    [("labels.jsonl", "classification"), ("tags.jsonl", "token_classification")],
)
def test_rows_to_classify_are_written_with_their_classes(tmp_path, settings, source, format):
    path = tmp_path / source
    row = (
        {"text": "A good film.", "label": "good"}
        if format == "classification"
        else {"tokens": ["A", "cow"], "tags": ["O", "B-ANIMAL"]}
    )
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(2)), "utf-8")
    rows = load_dataset(DatasetSpec(source=str(path)), settings)
    saved = save_cleaned(rows, check_dataset(rows), [FindingKind.DUPLICATE], settings)
    again = load_dataset(DatasetSpec(source=saved.path), settings)
    assert again.format == format
    assert len(again.rows) == 1


def test_a_running_text_stays_one(tmp_path, settings):
    path = tmp_path / "book.txt"
    path.write_text(("The cow said moo. " * 150 + "\n\n") + ("A dog barks. " * 300), "utf-8")
    rows = load_dataset(DatasetSpec(source=str(path)), settings)
    assert len(rows.rows) > 1
    check = check_dataset(rows)
    with pytest.raises(EngineError):
        write_cleaned(rows, check, [FindingKind.DUPLICATE], tmp_path / "out.jsonl")
    out = tmp_path / "out.txt"
    write_cleaned(rows, check, [FindingKind.DUPLICATE], out)
    assert out.read_text("utf-8") == path.read_text("utf-8")


def test_what_cannot_be_cleaned_is_refused_and_leaves_nothing(tmp_path):
    rows = dataset(chat(1, "Why?", ""), chat(2, "How?", ""))
    check, out = check_dataset(rows), tmp_path / "out.jsonl"
    with pytest.raises(EngineError, match="2 rows"):
        write_cleaned(rows, check, [FindingKind.EMPTY_ANSWER], out)
    with pytest.raises(EngineError):
        write_cleaned(rows, check, [], out)
    changed = dataset(chat(1, "Why?", "So."))
    with pytest.raises(EngineError, match="changed"):
        write_cleaned(changed, check, [FindingKind.DUPLICATE], out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(EngineError, match="exists"):
        write_cleaned(rows, check, [FindingKind.DUPLICATE], out)
    assert out.read_text() == "mine"


def test_rows_of_an_evaluation_set_stay_apart_and_are_not_counted(tmp_path):
    rows = dataset(chat(1, "Why?", ""), chat(2, "How?", "So."), chat(3, "Who?", ""))
    parts = (SetPart("a", 0, 2, 1.0, 0), SetPart("b", 2, 3, 0.0, 2, is_evaluation=True))
    rows = replace(rows, parts=parts)
    check, out = check_dataset(rows), tmp_path / "out.jsonl"
    cleaned = write_cleaned(rows, check, [FindingKind.EMPTY_ANSWER], out)
    assert (cleaned.rows, cleaned.removed) == (1, {"empty_answer": 1})
    assert [
        json.loads(line)["messages"][0]["content"] for line in out.read_text().splitlines()
    ] == ["How?"]
    empty = replace(rows, rows=(rows.rows[0], rows.rows[0], rows.rows[2]))
    with pytest.raises(EngineError, match="2 rows"):
        write_cleaned(
            empty, check_dataset(empty), [FindingKind.EMPTY_ANSWER], tmp_path / "none.jsonl"
        )


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(EngineError, match="'empty'"):
        kinds_named(["empty"])
