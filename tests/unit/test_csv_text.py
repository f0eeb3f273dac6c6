"""A table as CSV text: whole for a reader, and nothing in it for a spreadsheet to run."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from lora_engine.csv_text import csv_text
from tests.csv_cells import RUN_BY_A_SPREADSHEET

ROOT = Path(__file__).resolve().parents[2]


def test_what_a_spreadsheet_would_run_is_quoted_and_the_rest_comes_back():
    plain = ["plain", "a=1", 'a"b,c', "two\nlines", "", -0.5, 1e-7, 3]
    made = csv_text([[cell] for cell in [*RUN_BY_A_SPREADSHEET, *plain]])
    cells = [row[0] if row else "" for row in csv.reader(io.StringIO(made, newline=""))]
    assert cells[: len(RUN_BY_A_SPREADSHEET)] == [f"'{text}" for text in RUN_BY_A_SPREADSHEET]
    assert cells[len(RUN_BY_A_SPREADSHEET) :] == [str(cell) for cell in plain]


def test_no_other_module_writes_csv():
    writes = re.compile(r"csv\.(writer|DictWriter)\(|\.to_csv\(|text/csv")
    found = [
        str(path.relative_to(ROOT))
        for folder in ("lora_engine", "pages")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".js") and writes.search(path.read_text(encoding="utf-8"))
    ]
    assert sorted(found) == ["lora_engine/csv_text.py", "pages/shared/static/csv.js"]


def test_no_module_of_the_engine_maps_a_file_that_may_shrink():
    maps = re.compile(r"\bmmap\.mmap|\bmemmap\b|mmap_mode|memory_map|\bsafe_open\(")
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "lora_engine").rglob("*.py")
        if maps.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
