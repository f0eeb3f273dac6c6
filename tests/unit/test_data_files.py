"""Reading dataset files: every format in every file type, and every bad input named."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from lora_engine.data import Message, formats, load_dataset, passages, record_files
from lora_engine.errors import EngineError, NotFound
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec

ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n"
PAIR = {"prompt": "Hi", "completion": 'Say "ho", friend'}
PAIRS = [PAIR, {"prompt": "two\nlines", "completion": "b"}]


def zipped(name: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, "x")
    return archive.getvalue()


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
    assert max(len(row.text) for row in dataset.rows) <= passages.PASSAGE_CHARACTERS
    assert all(row.text.endswith("\n\n") for row in dataset.rows[:-1])
    assert [row.continues for row in dataset.rows] == [True] * (len(dataset.rows) - 1) + [False]


FRAME = pd.DataFrame(PAIRS)


def table(**how) -> str:
    return FRAME.to_csv(**{"index": False, **how})


def r_table(separator: str, corner: str) -> str:
    """As R writes a data frame: quoted, with row names, and a corner only in write.csv."""
    rows = [["1", *PAIRS[0].values()], ["2", *PAIRS[1].values()]]
    quoted = [separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    return "\n".join([f'{corner}"prompt"{separator}"completion"', *quoted])


SPELLINGS = {
    "comma.csv": table(),
    "semicolon.csv": table(sep=";"),
    "bar.csv": table(sep="|"),
    "tab.csv": table(sep="\t"),
    "tab.tsv": table(sep="\t"),
    "windows.csv": table(lineterminator="\r\n"),
    "quoted.csv": table(quoting=csv.QUOTE_ALL),
    "sep.csv": "sep=;\r\n" + table(sep=";"),
    "bom.csv": table().encode("utf-8-sig"),
    "wide.csv": table().encode("utf-16"),
    "index.csv": table(index=True),
    "indexed-twice.csv": FRAME.reset_index(names="Unnamed: 0").to_csv(),
    "r-write-csv.csv": r_table(",", '"",'),
    "r-write-csv2.csv": r_table(";", '"";'),
    "r-write-table.csv": r_table(" ", ""),
    "r-write-table.tsv": r_table("\t", ""),
    "excel-columns.csv": FRAME.assign(a="", b="")
    .rename(columns={"a": "", "b": " "})
    .to_csv(index=False),
    "excel-rows.csv": table() + ",\n,\n",
    "spaces.csv": 'prompt, completion\n"Hi", "Say ""ho"", friend"\n"two\nlines", "b"\n',
    "lines.jsonl": lines(*PAIRS),
    "windows.jsonl": lines(*PAIRS).replace("\n", "\r\n"),
    "mac.jsonl": lines(*PAIRS).replace("\n", "\r"),
    "array.json": json.dumps(PAIRS, indent=2),
    "documents.json": "\n".join(json.dumps(row, indent=2) for row in PAIRS),
    "data.json": json.dumps({"version": 2, "data": PAIRS}, indent=1),
    "train.json": json.dumps({"train": PAIRS}),
    "columns.json": FRAME.to_json(),
    "index.json": FRAME.to_json(orient="index"),
    "split.json": FRAME.to_json(orient="split"),
    "table.json": FRAME.to_json(orient="table"),
    "lists.json": FRAME.to_json(orient="columns") and json.dumps(FRAME.to_dict("list")),
    "packed.jsonl.gz": gzip.compress(lines(*PAIRS).encode()),
    "packed.json.gz": gzip.compress(json.dumps(PAIRS).encode()),
    "packed.csv.gz": gzip.compress(table().encode()),
    "packed.tsv.gz": gzip.compress(table(sep="\t").encode()),
    "disguised.jsonl": gzip.compress(lines(*PAIRS).encode()),
    "disguised.csv": gzip.compress(table().encode()),
    "unpacked.jsonl.gz": lines(*PAIRS),
    "joined.jsonl": "\n".join("\ufeff" + lines(row) for row in PAIRS),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_same_rows_in_the_spelling_of_other_programs(read, name):
    dataset = read(SPELLINGS[name], name)
    assert [turns(row) for row in dataset.rows] == [
        [("user", row["prompt"]), ("assistant", row["completion"])] for row in PAIRS
    ]


def test_a_parquet_file_of_another_name_is_read(read, tmp_path):
    FRAME.to_parquet(tmp_path / "made.parquet")
    assert len(read((tmp_path / "made.parquet").read_bytes(), "a.jsonl").rows) == 2


@pytest.mark.parametrize(
    "row", [CHAT, {"tokens": ["a", "b"], "tags": ["O", "O"]}, ALPACA, {**ALPACA, "history": []}]
)
def test_one_object_over_several_lines_is_one_row(read, row):
    (only,) = read(json.dumps(row, indent=2), "one.json").rows
    assert only == read(lines(row)).rows[0]


@pytest.mark.parametrize("text", ["<html> is a tag.", '{"a": 1} is JSON, this is not.', "[x]"])
def test_prose_may_begin_like_markup(read, text):
    assert read(text, "a.txt").rows[0].text == text


def test_packed_plain_text_is_plain_text(read):
    assert read(gzip.compress(b"Once upon a time."), "a.txt.gz").format == "text"


def test_a_long_cell_is_read_up_to_the_bound_of_a_row(read):
    text = "word " * 99_990
    (row,) = read(f'prompt,completion\nq,"{text}"\n', "a.csv").rows
    assert row.messages[1].content == text


def test_gzip_is_unpacked_no_further_than_the_bound(read, monkeypatch):
    monkeypatch.setattr(record_files, "MAX_FILE_BYTES", 100_000)
    packed = gzip.compress(b" " * 1_000_000)
    assert len(packed) < 10_000
    with pytest.raises(EngineError, match="unpacks to more than 100,000 bytes"):
        read(packed, "bomb.jsonl")


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
    "utf-16 cut off": ("a,b".encode("utf-16")[:-1], "a.csv", "UTF-16 that breaks off"),
    "utf-32": ("a,b\n1,2".encode("utf-32"), "a.csv", "text in UTF-32.*Save it as UTF-8"),
    "windows": ("text\n\nGr\u00f6\u00dfe\n".encode("cp1252"), "a.csv", r"0xf6.*line 3 .*'\u00f6'"),
    "extension": ("x", "a.xlsx", r"\.xlsx; \.jsonl"),
    "bzip2": ("x", "a.jsonl.bz2", r"ends in \.bz2.*another archive"),
    "gzip cut off": (gzip.compress(b"{}")[:-5], "a.jsonl.gz", "gzip archive that is damaged"),
    "gzip of a folder": (gzip.compress(bytes(257) + b"ustar" + bytes(9)), "a.csv", "a tar arch"),
    "gzip without inner ending": (
        gzip.compress(b"{}"),
        "rows.gz",
        r"in \.gz.*rows\.jsonl\.gz",
    ),
    "zip": (zipped("rows.jsonl"), "a.jsonl", "zip archive, with 'rows.jsonl' in it.*Unpack"),
    "workbook as csv": (zipped("xl/workbook.xml"), "a.csv", "Excel workbook.*CSV UTF-8"),
    "workbook as parquet": (zipped("xl/workbook.xml"), "a.parquet", "Excel workbook"),
    "arrow": (b"ARROW1" + bytes(20), "a.parquet", "an Arrow file.*JSON Lines"),
    "json as text": (lines(ALPACA, ALPACA), "a.txt", r"is JSON, not plain text.*\.jsonl"),
    "json array as text": (json.dumps([ALPACA], indent=1), "rows.json.txt", "is JSON, not plain"),
    "login page": ("<!DOCTYPE html><html>", "a.jsonl", "a web page .HTML.*Download"),
    "login page as csv": ("\n <html>", "a.csv", "a web page .HTML"),
    "lfs pointer": (LFS, "a.jsonl", "Git LFS pointer.*git lfs pull"),
    "lfs pointer as parquet": (LFS, "a.parquet", "Git LFS pointer.*git lfs pull"),
    "lfs pointer as text": (LFS, "a.txt", "Git LFS pointer.*git lfs pull"),
    "json as csv": (lines(ALPACA), "a.csv", r"is JSON, not CSV.*\.jsonl"),
    "csv as json": ("text,label\na,b\n", "a.jsonl", r"line 1: not JSON.*\.csv"),
    "python": ("{'text': 'x'}", "a.jsonl", r"single quotes.* column 2.*json\.dumps"),
    "none": ('{"text": None}', "a.jsonl", r"None stands there.*json\.dumps"),
    "comment": ('// rows\n{"text": "a"}', "a.json", "line 1: .*a comment stands there"),
    "comma at a line's end": (lines(ALPACA) + ",\n", "a.jsonl", "line 1: .*follows its end .','"),
    "comma before the end": ('[{"text": "a"},]', "a.json", "a comma stands before.*column 16"),
    "array with more behind": ('[{"text": "a"}]\nxx', "a.json", "'xx'. at line 2, column 1"),
    "array cut off": ('[{"text": "a"},\n {"te', "a.json", "line 2, column 3"),
    "name twice": ('{"text": "a", "text": "b"}', "a.jsonl", "line 1: .*'text' stands .* twice"),
    "second object broken": (
        json.dumps(ALPACA, indent=1) + '\n{\n "text": }',
        "a.json",
        "begins in line 6 is not JSON .*line 7, column 10",
    ),
    "objects parted by commas": (
        json.dumps(ALPACA, indent=1) + ",\n" + json.dumps(ALPACA, indent=1),
        "a.json",
        "line 5: a comma stands between objects.*Put .* before",
    ),
    "several lists": (
        json.dumps({"train": [ALPACA] * 2, "test": [ALPACA]}),
        "a.json",
        r"several lists of rows: train \(2\), test \(1\)",
    ),
    "columns of lengths": (
        json.dumps({"prompt": ["a", "b"], "completion": ["c"]}),
        "a.json",
        "lengths differ: prompt 2, completion 1",
    ),
    "cell in a nameless column": (
        "prompt,completion,,\nHi,Hello, friend,\n",
        "a.csv",
        "row 1 holds ' friend' in column 3, which has no name",
    ),
    "text behind a quote": ('text,label\n"a"b,c\n', "a.csv", "row 1 is not CSV: something stands"),
    "no extension": ("x", "rows", "rows has no extension"),
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
        r"read as alpaca\): row 2: no column 'instruction', 'output'; it has messages; row 3",
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
        "unknown role wizard; known: system, ",
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
    "csv quote": ('instruction,output\na,b\nc,"d', "a.csv", "row 2 is not CSV: a quote is opened"),
    "csv huge cell": (
        f"text\n{'x' * 10**6}\n",
        "a.csv",
        "row 1 has a cell of more than 500,000 char",
    ),
    "csv names": ("text,text\na,b\n", "a.csv", "names a column twice: text"),
    "not parquet": ("PAR1 no", "a.parquet", "not a readable Parquet file: its end is missing"),
    "no parquet at all": (
        "no",
        "a.parquet",
        "a readable Parquet file: it begins .* 6e 6f",
    ),
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
    with pytest.raises(EngineError, match="more than 2 rows"):
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
        record_files.MAX_WHOLE_BYTES,
        record_files.MAX_ROW_CHARACTERS,
    ):
        assert f"{bound:,}" in page


def test_a_date_that_python_has_no_number_for_is_refused_in_words(read, tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "dates.parquet"
    dates = pyarrow.array([2**60], pyarrow.timestamp("us"))
    parquet.write_table(pyarrow.table({"prompt": ["Hi"], "completion": ["Ho"], "t": dates}), path)
    with pytest.raises(EngineError, match="9999"):
        read(path.read_bytes(), "a.parquet")
