"""Folders whose files are links, pipes or decoys: every way in refuses them in words, at once."""

import json
import os
import shutil

import pytest

from lora_engine import foreign_folder
from lora_engine.adapters.importing import add_adapter
from lora_engine.adapters.kinds import read_any_config
from lora_engine.adapters.summary import describe_adapter
from lora_engine.adapters.whole import read_whole
from lora_engine.base_models import list_base_models, resolve_base_model
from lora_engine.base_models.weight_files import weight_files
from lora_engine.calculator.model_source import path_source
from lora_engine.calculator.named_model import named_source
from lora_engine.errors import EngineError
from lora_engine.files import read_json_object
from lora_engine.foreign_folder import refuse_foreign_files
from lora_engine.starter import ADAPTERS_DIR
from lora_engine.weights.checkpoint import open_checkpoint

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def moved_out(name):
    """The file lies beside the folder, and a link in its place."""

    def made(folder):
        outside = folder.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return made


def linked(name, target):
    def made(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return made


def piped(name):
    def made(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return made


def a_folder_of_templates_elsewhere(folder):
    elsewhere = folder.parent / "templates"
    elsewhere.mkdir()
    (elsewhere / "default.jinja").write_text("x")
    (folder / "additional_chat_templates").symlink_to(elsewhere)


def a_linked_template(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "default.jinja").symlink_to("/etc/hostname")


def blobs_that_are_a_link(folder):
    """The layout of the hub's cache, with blobs that lie elsewhere."""
    (folder.parent / "blobs").symlink_to("/etc")
    linked("README.md", folder.parent / "blobs" / "hostname")(folder)


HOSTILE = {
    **{
        f"{name}: {kind}": make(name)
        for name in ("config.json", WEIGHTS, "tokenizer.json")
        for kind, make in {
            "link out": moved_out,
            "dangling": lambda name: linked(name, "/nowhere/at/all"),
            "to itself": lambda name: linked(name, name),
            "to a folder": lambda name: linked(name, "/etc"),
            "to a device": lambda name: linked(name, "/dev/zero"),
            "pipe": piped,
        }.items()
    },
    "another pipe": piped("quantize_config.json"),
    "a link of no known name": linked("notes.txt", "/etc/hostname"),
    "templates elsewhere": a_folder_of_templates_elsewhere,
    "a linked template": a_linked_template,
    "false blobs": blobs_that_are_a_link,
}


def refused(call, *arguments):
    """Whether it raised EngineError with both its sentences."""
    try:
        call(*arguments)
    except EngineError as error:
        return bool(error.problem and error.remedy)
    return False


@pytest.mark.parametrize("case", HOSTILE)
def test_a_base_that_leads_elsewhere(case, tiny_llama, tmp_path, settings):
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    HOSTILE[case](folder)
    for way in (
        lambda: resolve_base_model(str(folder), settings),
        lambda: weight_files(folder),
        lambda: open_checkpoint(folder),
        lambda: path_source(folder),
        lambda: named_source(str(folder), settings),
    ):
        assert refused(way)


@pytest.mark.parametrize("name", ADAPTER)
@pytest.mark.parametrize("make", [moved_out, lambda name: linked(name, "/dev/zero"), piped])
def test_an_adapter_that_leads_elsewhere(name, make, tmp_path, settings):
    folder = tmp_path / "mine"
    shutil.copytree(ADAPTERS_DIR / "pirate-adapter", folder)
    make(name)(folder)
    for way in (read_any_config, describe_adapter, read_whole, open_checkpoint):
        assert refused(way, folder)
    assert refused(add_adapter, str(folder), settings)
    assert not list((settings.data_dir / "adapters").glob("*"))


def decoy(folder):
    shutil.copyfile(folder / WEIGHTS, folder / "a.safetensors")
    names = open_checkpoint(folder / WEIGHTS).tensors
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, "a.safetensors")}))


def test_two_models_in_one_folder(tiny_llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    decoy(folder)
    assert refused(weight_files, folder)
    assert refused(open_checkpoint, folder)
    document = json.loads((folder / INDEX).read_text())
    document["weight_map"] = dict.fromkeys(document["weight_map"], WEIGHTS)
    (folder / INDEX).write_text(json.dumps(document))  # as some tools write it
    assert weight_files(folder)[0].path.name == WEIGHTS
    assert open_checkpoint(folder).tensors


def test_a_snapshot_of_the_hub_stays_readable(tiny_llama, tmp_path, settings):
    """Its files are links into the blobs beside, also under a cache that is itself a link."""
    cache = tmp_path / "disk" / "models--org--x"
    snapshot, blobs = cache / "snapshots" / "abc", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(path for path in tiny_llama.iterdir() if path.is_file()):
        shutil.copyfile(file, blobs / f"{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    folder = tmp_path / "cache" / "models--org--x" / "snapshots" / "abc"
    assert resolve_base_model(str(folder), settings).is_local
    assert weight_files(folder)
    assert open_checkpoint(folder).tensors
    assert path_source(folder).config["model_type"] == "llama"


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_folder, "MAX_ENTRIES", 10)
    for number in range(11):
        (tmp_path / f"{number}").touch()
    assert refused(refuse_foreign_files, tmp_path)


def test_a_pipe_is_never_waited_for(tmp_path, settings):
    models = settings.models_dir / "piped"
    models.mkdir(parents=True)
    os.mkfifo(models / "config.json")
    assert "piped" in {model.name for model in list_base_models(settings)}
    with pytest.raises(OSError, match="plain file"):
        read_json_object(models / "config.json")
