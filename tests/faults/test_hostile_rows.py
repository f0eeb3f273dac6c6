"""Files of rows that cost far more than they weigh: each is read or refused in words.

The others of the table take longer to write than to read: `python -m tests.faults.hostile_rows`.
"""

import pytest

from lora_engine.data.sources import load_file
from lora_engine.errors import EngineError
from tests.faults.hostile_rows import HOSTILE

REFUSED = ("shared.parquet", "constant.parquet", "deep.json", "zip.jsonl")
OTHERS = ("dates.parquet", "deep.parquet", "broken.jsonl", "deep.jsonl", "twice.jsonl")
OTHERS += ("columns.csv", "nul.csv", "cut.jsonl.gz", "latin.jsonl", "wide.jsonl")


def is_refused(path):
    """Whether it raised EngineError with both its sentences; any other exception is a bug."""
    try:
        load_file(path, "auto", path.name)
    except EngineError as error:
        return bool(error.problem and error.remedy)
    return False


@pytest.mark.parametrize("name", [*REFUSED, *OTHERS])
def test_a_hostile_file_of_rows(name, tmp_path):
    HOSTILE[name](tmp_path / name)
    assert is_refused(tmp_path / name) or name not in REFUSED
