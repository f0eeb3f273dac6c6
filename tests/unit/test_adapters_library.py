"""Which adapters are listed, in which order, and what a name means."""

import json
import os
from pathlib import Path

import pytest

from lora_engine.adapters.config import read_adapter_config
from lora_engine.adapters.library import (
    AdapterLibrary,
    describe_adapter,
    list_adapters,
    list_unreadable_adapters,
    resolve_adapter,
)
from lora_engine.base_models import BaseModel
from lora_engine.base_models.fingerprint import fingerprint
from lora_engine.errors import Conflict, EngineError, NotFound
from lora_engine.spec import RunSpec
from lora_engine.spec.recipes import recipe_spec
from lora_engine.starter import MODEL_DIR

BUNDLED = "starter:pirate-adapter"


def write_adapter(folder: Path, at: int, provenance: dict | None = None, rank: int = 8) -> Path:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    if provenance is not None:
        (folder / "provenance.json").write_text(json.dumps(provenance))
    os.utime(folder / "adapter_model.safetensors", (at, at))
    return folder


def write_run(settings, run_id: str, at: int, name: str, state: str = "finished") -> Path:
    provenance = {"run": run_id, "spec": {"name": name}, "base_model": "starter"}
    provenance["base_fingerprint"] = "f" * 16
    folder = write_adapter(settings.runs_dir / run_id / "adapter", at, provenance)
    (folder.parent / "result.json").write_text(json.dumps({"state": state}))
    return folder


def own_names(settings) -> list[str]:
    return [one.name for one in list_adapters(settings) if not one.bundled]


def test_finished_runs_and_imported_adapters_are_listed_newest_first(settings):
    write_run(settings, "aa11", 1_000, "pirate r8")
    write_run(settings, "bb22", 3_000, "pirate r8")
    write_run(settings, "cc33", 4_000, "cancelled", state="cancelled")
    write_adapter(settings.data_dir / "adapters" / "imported", 2_000, rank=4)
    listed = list_adapters(settings)
    names = ["pirate r8", "imported", "pirate r8 (aa11)", BUNDLED]
    assert [summary.name for summary in listed] == names
    assert [summary.run_id for summary in listed] == ["bb22", None, "aa11", None]
    assert [summary.rank for summary in listed] == [8, 4, 8, 8]
    assert [summary.bundled for summary in listed] == [False, False, False, True]
    assert listed[0].created_at == "1970-01-01T00:50:00+00:00"
    assert listed[0].base_fingerprint == "f" * 16
    assert listed[0].bytes == len(b"weights")


def test_a_name_a_run_and_a_folder_lead_to_the_adapter(settings):
    old = write_run(settings, "aa11", 1_000, "pirate r8")
    new = write_run(settings, "bb22", 3_000, "pirate r8")
    assert resolve_adapter("pirate r8", settings) == new
    assert resolve_adapter("pirate r8 (aa11)", settings) == old
    assert resolve_adapter("aa11", settings) == old
    assert resolve_adapter(str(old), settings) == old


@pytest.mark.parametrize("name", ["", "nothing", "../../nowhere", "/nowhere"])
def test_an_unknown_name_lists_the_known_ones(settings, name):
    write_run(settings, "aa11", 1_000, "pirate r8")
    with pytest.raises(NotFound) as caught:
        resolve_adapter(name, settings)
    assert "pirate r8" in caught.value.remedy


def test_a_folder_without_an_adapter_is_refused_when_it_is_read(settings, tmp_path):
    with pytest.raises(NotFound, match="not an adapter folder"):
        describe_adapter(resolve_adapter(str(tmp_path), settings))


def test_a_folder_that_cannot_be_read_does_not_hide_the_others(settings):
    write_run(settings, "aa11", 1_000, "good")
    broken = write_run(settings, "bb22", 2_000, "broken")
    (broken / "adapter_config.json").write_text("{")
    later = write_run(settings, "cc33", 3_000, "later")
    (later / "provenance.json").write_text('{"version": 2, "name": "elsewhere"}')
    assert own_names(settings) == ["good"]
    unreadable = list_unreadable_adapters(settings)
    assert [(one.name, one.path) for one in unreadable] == [("bb22", broken), ("cc33", later)]
    assert "version 2" in unreadable[1].problem
    assert (later / "provenance.json").read_text() == '{"version": 2, "name": "elsewhere"}'
    with pytest.raises(EngineError, match="provenance.json.* 2"):
        describe_adapter(resolve_adapter("cc33", settings))


@pytest.mark.parametrize(
    ("document", "is_read"),
    [
        ("{}", True),
        ('{"version": 1}', True),
        ('{"version": 2}', False),
        ('{"version": "1"}', False),
        ("[]", False),
        ("[" * 5000, False),
    ],
)
def test_the_version_of_a_provenance_decides_whether_it_is_read(settings, document, is_read):
    write_run(settings, "aa11", 1_000, "good")
    folder = write_adapter(settings.data_dir / "adapters" / "imported", 2_000)
    (folder / "provenance.json").write_text(document)
    assert own_names(settings) == (["imported", "good"] if is_read else ["good"])


def test_before_the_first_run_the_bundled_adapter_is_there(settings):
    (only,) = AdapterLibrary(settings).list()
    assert (only.name, only.bundled, only.base_model) == (BUNDLED, True, "starter")
    found = AdapterLibrary(settings).details(BUNDLED)
    assert {check.name: check.ok for check in found.checks} == {
        "whole": True, "finite": True, "right base": True,
    }  # fmt: skip
    assert len(found.modules) == 28


def test_the_bundled_adapter_is_that_of_the_pirate_example(settings):
    provenance = json.loads((resolve_adapter(BUNDLED, settings) / "provenance.json").read_text())
    assert RunSpec.model_validate(provenance["spec"]) == recipe_spec("pirate")
    assert provenance["base_fingerprint"] == fingerprint(BaseModel("starter", MODEL_DIR))


def test_the_bundled_adapter_stays_and_is_last_of_the_newest(settings):
    library = AdapterLibrary(settings)
    write_run(settings, "aa11", 1_000, "pirate r8")
    assert [one.bundled for one in library.list()] == [False, True]
    assert [one.bundled for one in library.list(order="size")] == [False, True]
    with pytest.raises(Conflict):
        library.delete(BUNDLED)
    assert library.get(BUNDLED).bundled


def test_scaling_and_rank_follow_the_configuration(tmp_path):
    folder = write_adapter(tmp_path / "a", 1)
    config = read_adapter_config(folder)
    assert config.scaling_of("q_proj") == 2.0
    patterns = {"rank_pattern": {"^q_proj": 5, "q_proj": 3}, "alpha_pattern": {"v_proj": 4.0}}
    config = config.model_copy(update={"use_rslora": True, **patterns})
    query = "model.layers.0.self_attn.q_proj"
    assert (config.rank_of(query), config.rank_of("q_proj")) == (3, 5)
    assert config.scaling_of(query) == pytest.approx(16 / 3**0.5)
    assert config.scaling_of("layers.0.v_proj") == pytest.approx(4 / 8**0.5)
    assert config.rank_of("model.layers.0.self_attn.eq_proj") == 8
