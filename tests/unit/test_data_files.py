"""Reading dataset files: every format in every file type, and every bad input named."""

import json
from pathlib import Path

import pytest

from lora_engine.data import Message, formats, load_dataset, record_files
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec

ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}


@pytest.fixture
def read(tmp_path):
    """Write a file and load it as a dataset."""
    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models")

    def load(content: str | bytes, name: str = "rows.jsonl", format: str = "auto"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_dataset(DatasetSpec(source=str(path), format=format), settings)

    return load


def lines(*values) -> str:
    return "\n".join(json.dumps(value) for value in values)


def turns(row) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in row.messages]


@pytest.mark.parametrize(
    ("record", "format", "expected"),
    [
        (CHAT, "messages", [("user", "Hi"), ("assistant", "Ho")]),
        (
            {
                "system": "S",
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Ho"},
                ],
            },
            "sharegpt",
            [("system", "S"), ("user", "Hi"), ("assistant", "Ho")],
        ),
        (ALPACA, "alpaca", [("user", "Add.\n\n1 and 2"), ("assistant", "3")]),
        ({**ALPACA, "input": None}, "alpaca", [("user", "Add."), ("assistant", "3")]),
        ({**ALPACA, "input": float("nan")}, "alpaca", [("user", "Add."), ("assistant", "3")]),
        (
            {**ALPACA, "input": "", "system": "S", "history": [["a", "b"]]},
            "alpaca",
            [
                ("system", "S"),
                ("user", "a"),
                ("assistant", "b"),
                ("user", "Add."),
                ("assistant", "3"),
            ],
        ),
        (
            {"prompt": "Hi", "completion": "Ho", "id": 3},
            "prompt_completion",
            [("user", "Hi"), ("assistant", "Ho")],
        ),
        ({"text": "Once."}, "text", []),
    ],
)
def test_formats_are_found_by_themselves(read, record, format, expected):
    as_lines = read(lines(record, record))
    as_array = read(json.dumps([record, record], indent=1), "rows.json")
    assert as_lines.format == as_array.format == format
    assert turns(as_lines.rows[0]) == expected
    assert as_lines.rows[0].text == record.get("text")
    assert [row.number for row in as_lines.rows] == [1, 2]
    assert as_lines.content_hash == as_array.content_hash
    assert as_lines.content_hash != read(lines(record)).content_hash


def test_numbers_are_lines_blank_ones_counted(read):
    assert [row.number for row in read(lines(ALPACA) + "\n\n" + lines(ALPACA)).rows] == [1, 3]


def test_csv_with_bom_semicolons_and_line_breaks_in_cells(read):
    text = 'instruction;input;output\r\n"Say; it";;"two\nlines"\r\n\r\n"b";c;"say ""d"""\r\n'
    dataset = read(b"\xef\xbb\xbf" + text.encode(), "rows.CSV")
    assert dataset.format == "alpaca"
    assert turns(dataset.rows[0]) == [("user", "Say; it"), ("assistant", "two\nlines")]
    assert turns(dataset.rows[1]) == [("user", "b\n\nc"), ("assistant", 'say "d"')]
    assert [row.number for row in dataset.rows] == [1, 2]


def test_parquet_holds_texts_and_lists_of_turns(read, tmp_path):
    import pyarrow
    from pyarrow import parquet

    for record in (ALPACA, CHAT):
        path = tmp_path / "made.parquet"
        parquet.write_table(pyarrow.Table.from_pylist([record, record]), path)
        assert read(path.read_bytes(), "a.parquet").rows == read(lines(record, record)).rows


def test_plain_text_is_cut_into_passages_that_join_to_the_text(read):
    text = "".join(f"Line {n}.\n" + ("\n" if n % 7 == 0 else "") for n in range(2_000))
    dataset = read(text, "story.txt")
    assert dataset.format == "text"
    assert "".join(row.text for row in dataset.rows) == text
    assert max(len(row.text) for row in dataset.rows) <= record_files.PASSAGE_CHARACTERS
    assert all(row.text.endswith("\n\n") for row in dataset.rows[:-1])
    assert [row.continues for row in dataset.rows] == [True] * (len(dataset.rows) - 1) + [False]


BAD = {
    "empty file": ("", "a.jsonl", "has no rows"),
    "empty array": ("[]", "a.json", "has no rows"),
    "only blanks": (" \n \n", "a.txt", "has no rows"),
    "header only": ("instruction,output\n", "a.csv", "has no rows"),
    "bad line": (lines(ALPACA) + "\n{broken\n", "a.jsonl", "line 2: not JSON"),
    "bad array": ("[{}, {]", "a.json", "starts as a JSON array"),
    "number too long": ("[" + "1" * 5000 + "]", "a.json", "starts as a JSON array"),
    "deep": ("[" * 100_000, "a.json", "starts as a JSON array"),
    "not utf-8": (b'{"text": "caf\xe9"}', "a.jsonl", r"not UTF-8 text: byte 0xe9.*line 1"),
    "gzip in disguise": (b"\x1f\x8b\x08\x00", "a.jsonl", "not UTF-8"),
    "utf-16": ("a,b".encode("utf-16"), "a.csv", "not UTF-8"),
    "extension": ("x", "a.xlsx", r"\.xlsx; \.jsonl"),
    "compressed": ("x", "a.jsonl.gz", "Compressed files are not read"),
    "no extension": ("x", "rows", "ends in no extension"),
    "unknown columns": (lines({"q": 1, "a": 2}), "a.jsonl", "row 1 fits no known format: it has q"),
    "not an object": (lines([1]), "a.json", "it is a number"),
    "missing column": (
        lines(ALPACA, {"instruction": "x", "answer": "y"}),
        "a.jsonl",
        "row 2: no column 'output'; it has instruction, answer",
    ),
    "mixed formats": (
        lines(ALPACA, CHAT, {"text": "x"}, ALPACA, ALPACA),
        "a.jsonl",
        r"read as alpaca\): row 2: no column 'instruction' and 'output'; it has messages; row 3",
    ),
    "number": (lines({**ALPACA, "output": 3}), "a.jsonl", r"output is a number \(3\)"),
    "null": (lines({**ALPACA, "output": None}), "a.jsonl", r"output is empty \(null\)"),
    "nan": (lines({**ALPACA, "output": float("nan")}), "a.jsonl", "output is NaN"),
    "bool": (lines({"text": True}), "a.jsonl", "true/false"),
    "list": (lines({"prompt": ["a"], "completion": "b"}), "a.jsonl", "prompt is a list"),
    "empty text": (lines({"text": " "}), "a.jsonl", "column 'text' is empty"),
    "half a pair": ('{"text": "\\ud800"}', "a.jsonl", "half a surrogate pair"),
    "no turns": (lines({"messages": []}), "a.jsonl", "has no turns"),
    "turns as text": (lines({"messages": "hi"}), "a.jsonl", "'messages' is text, a list"),
    "turn as text": (lines({"messages": ["hi"]}), "a.jsonl", r"messages\[1\] is text"),
    "turn without content": (
        lines({"messages": [{"role": "user"}]}),
        "a.jsonl",
        r"messages\[1\] needs role and content .*it has role",
    ),
    "unknown role": (
        lines({"messages": [{"role": "wizard", "content": "x"}]}),
        "a.jsonl",
        "unknown role wizard; known: system, user",
    ),
    "role as list": (
        lines({"messages": [{"role": ["user"], "content": "x"}]}),
        "a.jsonl",
        "unknown role",
    ),
    "a million characters": (
        lines(ALPACA, {"text": "", **ALPACA, "output": "x" * 10**6}),
        "a.jsonl",
        r"row 2: 1,000,\d+ characters; at most 500,000",
    ),
    "ragged csv": ("instruction,output\na,b\na,b,c\n", "a.csv", "row 2 has 3 cells"),
    "short csv": ("instruction,output\na\n", "a.csv", "row 1 has 1 cells"),
    "csv quote": ('instruction,output\na,b\nc,"d', "a.csv", "row 2 is not CSV: unexpected end"),
    "csv huge cell": (f"text\n{'x' * 10**6}\n", "a.csv", "row 1 is not CSV: field larger"),
    "csv names": ("text,text\na,b\n", "a.csv", "names a column twice"),
    "not parquet": ("PAR1 no", "a.parquet", "not a readable Parquet file"),
    "bad history": (lines({**ALPACA, "history": [["a"]]}), "a.jsonl", r"history\[1\] is a list"),
}


@pytest.mark.parametrize(("content", "name", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(read, content, name, message):
    with pytest.raises(EngineError, match=message) as caught:
        read(content, name)
    assert caught.value.remedy
    assert len(str(caught.value)) < 1_500


def test_the_first_wrong_rows_are_shown_with_how_many_more(read):
    with pytest.raises(EngineError, match=r"row 2: .*row 6: .*14 more"):
        read(lines(ALPACA, *[{"a": 1}] * 19))


def test_a_declared_format_is_held_to(read):
    assert read(lines({"text": "x", **ALPACA}), format="text").rows[0].text == "x"
    with pytest.raises(EngineError, match="'messages'.*instruction"):
        read(lines(ALPACA), format="messages")
    with pytest.raises(EngineError, match="plain text.*alpaca"):
        read("hi", "a.txt", format="alpaca")


def test_missing_file_folder_and_caps(read, tmp_path, monkeypatch):
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path)
    with pytest.raises(NotFound, match="/nowhere/rows.jsonl"):
        load_dataset(DatasetSpec(source="/nowhere/rows.jsonl"), settings)
    with pytest.raises(EngineError, match="is a folder"):
        load_dataset(DatasetSpec(source=str(tmp_path)), settings)
    monkeypatch.setattr(record_files, "MAX_ROWS", 2)
    with pytest.raises(EngineError, match="3 rows; at most 2"):
        read(lines(*[ALPACA] * 3))
    monkeypatch.setattr(record_files, "MAX_FILE_BYTES", 10)
    with pytest.raises(EngineError, match="at most 10 "):
        read(lines(ALPACA))


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(read, tmp_path, monkeypatch):
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr(record_files, "MAX_FILE_BYTES", 100_000)
    path = tmp_path / "bomb.parquet"
    parquet.write_table(pyarrow.table({"text": ["a" * 1_000] * 1_000}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(EngineError, match="unpacks.*100,000 bytes"):
        read(path.read_bytes(), "b.parquet")


def test_roles_become_the_three_of_the_engine(read):
    conversation = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "u"},
        {"from": "gpt", "value": "a"},
    ]
    (row,) = read(lines({"conversations": conversation})).rows
    assert row.messages == (
        Message("system", "s"),
        Message("user", "u"),
        Message("assistant", "a"),
    )


def test_the_examples_in_the_documentation_are_read_as_it_says(read):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    examples = page.split("```json\n")[1].split("```")[0].splitlines()
    assert [read(example).format for example in examples] == list(formats.NEEDED_COLUMNS)
    for bound in (
        record_files.MAX_FILE_BYTES,
        record_files.MAX_ROWS,
        record_files.MAX_ROW_CHARACTERS,
    ):
        assert f"{bound:,}" in page
