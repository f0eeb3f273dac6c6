"""One class, one meaning: no stylesheet gives a class name a second purpose."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

from pages.shared import static_files

SHEETS = [path for path in static_files.files().values() if path.suffix == ".css"]
SHARED = static_files.files()["shared/rankscope.css"]
CLASS = re.compile(r"\.(rs-[\w-]+)")
RULE_OF_ONE_CLASS = re.compile(r"(?<!,\n)^\t\.(rs-[\w-]+) \{", re.MULTILINE)


def test_the_pages_own_sheets_share_no_class() -> None:
    shared = set(CLASS.findall(SHARED.read_text("utf-8")))
    own = {sheet.name: set(CLASS.findall(sheet.read_text("utf-8"))) - shared for sheet in SHEETS}
    assert len(own) > 2
    twice = {(a, b): own[a] & own[b] for a, b in combinations(own, 2) if own[a] & own[b]}
    assert twice == {}


def test_a_class_alone_has_one_rule_over_all_sheets() -> None:
    found = Counter(
        name for sheet in SHEETS for name in RULE_OF_ONE_CLASS.findall(sheet.read_text("utf-8"))
    )
    assert len(found) > 100
    assert [name for name, times in found.items() if times > 1] == []
