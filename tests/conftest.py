"""What every kind of test shares: settings on a temporary folder, tiny real models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("LORA_STANDBY_MINUTES", "0")  # two cores, and many servers

from lora_engine.settings import Settings  # noqa: E402  (the environment comes first)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings on a data folder of the test's own, on the processor."""
    return Settings(
        data_dir=tmp_path / "data", models_dir=tmp_path / "data" / "models", device="cpu"
    )


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama and its tokenizer."""
    from tests.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Forty chat rows."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What colour is thing {number}?"},
                {"role": "assistant", "content": "Blue and green." if number % 2 else "Grass."},
            ]
        }
        for number in range(40)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


@pytest.fixture
def run_command(settings, monkeypatch, capsys):
    """Runs a command of `lora_engine` here; returns its exit code and what it wrote."""
    from lora_engine import __main__

    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("LORA_DEVICE", "cpu")

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["lora_engine", *map(str, arguments)])
        try:
            code = __main__.main()
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return run
