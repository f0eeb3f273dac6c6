"""A process killed while it writes a large set leaves nothing that is taken for one."""

import os
import signal
import subprocess
import sys
import time

from lora_engine.data.cache_folder import LEFT_OVER_S, CacheFolder
from lora_engine.data.row_store import StoredRows, write_rows
from lora_engine.data.rows import Row

WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from lora_engine.data.cache_folder import CacheFolder
from lora_engine.data.row_store import write_rows
from lora_engine.data.rows import Row

def rows():
    for number in itertools.count(1):
        if number == 50_000:
            print("writing", flush=True)
        yield Row(number, (), f"Row {number}.")

with CacheFolder(Path(sys.argv[1]), 10**9).new_entry("one.rows") as entry:
    write_rows(entry, rows())
"""


def test_a_kill_in_the_middle_of_writing_leaves_no_entry(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "writing\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    (staging,) = tmp_path.iterdir()
    assert (staging / "rows.arrow").stat().st_size > 0

    folder = CacheFolder(tmp_path, 10**9)
    assert folder.open_entry("one.rows") is None
    with folder.new_entry("one.rows") as entry:
        entry.report["content_hash"] = write_rows(entry, [Row(1, (), "Whole.")])
    found = folder.take_entry("one.rows", is_kept=True)
    assert [row.text for row in StoredRows(found, found.report["content_hash"])] == ["Whole."]
    assert staging.exists()
    old = time.time() - LEFT_OVER_S - 1
    os.utime(staging, (old, old))
    folder.remove_oldest()
    assert not staging.exists()
    assert (tmp_path / "one.rows").exists()
