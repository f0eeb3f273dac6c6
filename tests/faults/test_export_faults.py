"""An export is whole or not there: on a disk that fills, over what exists, when it is stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_engine.base_models import resolve_base_model
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import Conflict
from lora_engine.export import FORM_WORDS
from lora_engine.settings import Settings
from tests.compare_models import save_adapter

FORMS = list(FORM_WORDS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    folder = tmp_path_factory.mktemp("faults")
    settings = Settings(data_dir=folder, models_dir=folder / "models", device="cpu")
    base = resolve_base_model("starter", settings)
    adapter = save_adapter(folder / "adapters" / "known", base, r=4, lora_alpha=8)
    (adapter / "provenance.json").write_text(json.dumps({"base_model": "starter"}), "utf-8")
    return Engine(settings)


@pytest.fixture(scope="module")
def exported(engine, tmp_path_factory) -> dict[str, Path]:
    """Each form written where there is room."""
    folder = tmp_path_factory.mktemp("room")
    for form in FORMS:
        engine.exports.export("known", folder / form, form, measure=False)
    return {form: folder / form for form in FORMS}


@pytest.fixture(scope="module")
def on_a_full_disk(engine, exported, on_a_small_disk) -> dict:
    """What `full_disk_export` found; each form has room for a part of what it writes.

    A merged model's weights fit, because a merge that sees no room for them does not begin; as GGUF
    it is written beside them.
    """
    sizes = {form: size_of(path) for form, path in exported.items()}
    merged = (exported["merged"] / "model.safetensors").stat().st_size
    free = {form: int(0.6 * size) for form, size in sizes.items()}
    free |= {"merged": int(1.002 * merged), "merged-gguf": sizes["merged"] + free["merged-gguf"]}
    return on_a_small_disk(
        "full_disk_export",
        data_dir=str(engine.settings.data_dir),
        earlier={form: str(path) for form, path in exported.items()},
        free_bytes=free,
    )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_fills_leaves_no_half_export_and_the_earlier_one(on_a_full_disk, form):
    found = on_a_full_disk[form]
    for said in found["said"]:
        assert "No space left on device" in said or "only a part" in said
        assert "Free space" in said
    assert found["left"] == sorted(["ballast", f"{form}-earlier"])
    assert found["kept"]


@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_exists_is_kept_until_it_is_to_be_replaced(engine, exported, form, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(Conflict, match="out"):
            engine.exports.export("known", output, form, measure=False, overwrite=overwrite)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(Conflict):
        engine.exports.export("known", exported[form], form, measure=False)
    (exported[form] / "of the earlier export").write_text("")
    engine.exports.export("known", exported[form], form, measure=False, overwrite=True)
    assert not (exported[form] / "of the earlier export").exists()


def test_a_link_is_not_followed_and_not_replaced(engine, exported, tmp_path):
    (tmp_path / "out").symlink_to(exported["portable"])
    with pytest.raises(Conflict, match="out"):
        engine.exports.export("known", tmp_path / "out", "portable", measure=False, overwrite=True)
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("form", ["portable", "merged", "gguf", "merged-gguf"])
def test_one_that_is_stopped_half_way_leaves_nothing(engine, form, tmp_path):
    stop = StopSignal()

    def half_way(share: float, doing: str) -> None:
        if share > 0.3:
            stop.set()

    with pytest.raises(Stopped):
        engine.exports.export(
            "known", tmp_path / "out", form, measure=False, progress=half_way, stop=stop
        )
    assert list(tmp_path.iterdir()) == []
