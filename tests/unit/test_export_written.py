"""The exports in the data folder, and one as a zip: whole, and nothing from outside its folder."""

from __future__ import annotations

import io
import os
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
    folder = engine.exports.written.folder("pirate-ollama")
    (folder / "adapter").mkdir(parents=True)
    weights = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(weights)
    (folder / "Modelfile").write_text("FROM base")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")

    blocks = list(engine.exports.written.zip_blocks("pirate-ollama"))

    assert max(map(len, blocks)) < 2 * BLOCK_BYTES
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "pirate-ollama/Modelfile",
            "pirate-ollama/adapter/adapter_model.safetensors",
        ]
        assert archive.read("pirate-ollama/adapter/adapter_model.safetensors") == weights
    (folder / "Modelfile").touch()
    assert list(engine.exports.written.zip_blocks("pirate-ollama")) == blocks


def test_a_name_leads_to_no_other_folder(engine: Engine) -> None:
    for name in ("../adapters", "/etc", "a/b", ""):
        with pytest.raises(InvalidInput):
            engine.exports.written.zip_blocks(name)
    with pytest.raises(NotFound):
        engine.exports.written.zip_blocks("none")


def test_exports_are_listed_newest_first_and_deleted_by_name(engine: Engine) -> None:
    written = engine.exports.written
    assert written.list() == []
    for age, name in enumerate(("new", "old")):
        folder = written.folder(name)
        folder.mkdir(parents=True)
        (folder / "Modelfile").write_text("FROM base")
        os.utime(folder / "Modelfile", (1_700_000_000 - age, 1_700_000_000 - age))
    (written.folder("new").parent / ".half.staging").mkdir()

    found = written.list()

    assert [(one.name, one.bytes) for one in found] == [("new", 9), ("old", 9)]
    assert found[0].written_at == "2023-11-14T22:13:20+00:00"
    written.delete("new")
    assert [one.name for one in written.list()] == ["old"]
    with pytest.raises(NotFound):
        written.delete("new")
    with pytest.raises(InvalidInput):
        written.delete("../adapters")
