"""An export as a zip: whole, the same each time, and nothing from outside its folder."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from lora_engine.adapters.zip_download import BLOCK_BYTES
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput, NotFound
from lora_engine.settings import Settings


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models"))


def test_the_zip_has_every_file_of_the_export_and_no_link(engine: Engine, tmp_path: Path) -> None:
    folder = engine.exports.folder("pirate-ollama")
    (folder / "adapter").mkdir(parents=True)
    weights = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(weights)
    (folder / "Modelfile").write_text("FROM base")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")

    blocks = list(engine.exports.zip_blocks("pirate-ollama"))

    assert max(map(len, blocks)) < 2 * BLOCK_BYTES
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "pirate-ollama/Modelfile",
            "pirate-ollama/adapter/adapter_model.safetensors",
        ]
        assert archive.read("pirate-ollama/adapter/adapter_model.safetensors") == weights
    (folder / "Modelfile").touch()
    assert list(engine.exports.zip_blocks("pirate-ollama")) == blocks


def test_a_name_leads_to_no_other_folder(engine: Engine) -> None:
    for name in ("../adapters", "/etc", "a/b", ""):
        with pytest.raises(InvalidInput):
            engine.exports.zip_blocks(name)
    with pytest.raises(NotFound):
        engine.exports.zip_blocks("none")
