"""What an adapter is called in an address: the call that opens it, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_engine.adapters import AdapterSummary
from pages.shared.adapter_choices import adapter_key


@pytest.mark.parametrize(
    ("path", "run_id", "key"),
    [
        ("/data/runs/r1/adapter", "r1", "r1"),
        ("/data/adapters/resized", "r1", "/data/adapters/resized"),
        ("/data/adapters/foreign", None, "/data/adapters/foreign"),
        ("/copies/r1-copy/adapter", "r1", "/copies/r1-copy/adapter"),
    ],
)
def test_an_adapter_made_from_a_runs_adapter_is_not_called_by_the_run(
    path: str, run_id: str | None, key: str
) -> None:
    adapter = AdapterSummary("pirate", Path(path), 8, "starter", None, run_id, "2026", 1)
    assert adapter_key(adapter) == key
