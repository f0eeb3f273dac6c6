"""Every way in that takes a name, given names that no disk, page or list should have to bear.

A name that is only shown (a run's, a sweep's, a tag) is refused where it holds what cannot be seen.
One that becomes a folder's or a file's is refused, or made into a safe one. One that is looked up
is not found. Nothing else happens: no traceback, and nothing outside the data folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from lora_engine.access.people_file import add_person, remove_person
from lora_engine.adapters.importing import add_folder
from lora_engine.adapters.library import resolve_adapter
from lora_engine.annotations import read_tags
from lora_engine.base_models import resolve_base_model
from lora_engine.data import load_dataset
from lora_engine.data.uploads import delete_upload, save_upload
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.spec import DatasetSpec, RunSpec, SweepSpec, spec_from

UNSEEN = {
    "newline": "a\nb",
    "tab": "a\tb",
    "null": "a\x00b",
    "escape": "a\x1b[31mb",
    "bidi": "a\u202egpj.exe",
    "isolate": "a\u2066b",
    "no width": "a\u200bb",
    "line separator": "a\u2028b",
    "surrogate": "a\udc80b",
    "empty": "",
    "spaces": "   ",
}
NO_FOLDER = {
    "home": "~x",
    "dots": "..",
    "dot": ".",
    "up": "../x",
    "absolute": "/etc/x",
    "backslash": "..\\x",
    "hidden": ".x",
    "option": "-rf",
    "slash": "a/b",
    "300": "x" * 300,
    "300 Chinese": "秩" * 300,
    "percent": "a%2fb",
    "quote": "a'\"b",
}
"""Beside UNSEEN."""
NAMES = {**UNSEEN, **NO_FOLDER}


def hostile(names: dict[str, str]):
    return pytest.mark.parametrize("name", names.values(), ids=names.keys())


SHOWN: dict[str, Callable[[str], object]] = {
    "run": lambda name: spec_from({"name": name}),
    "sweep": lambda name: SweepSpec.model_validate({"name": name, "axes": {}}),
    "tag": lambda name: read_tags([f"a{name}b"]),
}


@hostile({kind: name for kind, name in UNSEEN.items() if name.strip()})
@pytest.mark.parametrize("way", SHOWN)
def test_what_is_shown_holds_nothing_unseen(way, name):
    with pytest.raises((EngineError, ValidationError)) as refused:
        SHOWN[way](name)
    assert "name" in str(refused.value).lower() or "tag" in str(refused.value).lower()


@hostile({"empty": "", "spaces": "  ", "300": "x" * 300})
def test_a_runs_name_is_something_and_no_novel(name):
    with pytest.raises(EngineError):
        spec_from({"name": name})


@pytest.fixture
def engine(settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def folders(engine, settings) -> dict[str, Callable[[str], Path]]:
    """The ways in whose name becomes a folder's."""
    return {
        "adapter": engine.adapter_operations.adapter_folder,
        "model": engine.adapter_operations.model_folder,
        "export": engine.exports.written.folder,
        "added": lambda name: add_folder(settings.data_dir, settings, name or "?"),
        "person": lambda name: add_person(settings.data_dir / "people", name, "see", ""),
    }


@pytest.mark.parametrize("way", ["adapter", "model", "export", "added", "person"])
@hostile(NAMES)
def test_a_name_that_becomes_a_folders_is_refused_in_words(way, name, folders, settings):
    with pytest.raises(EngineError) as refused:
        folders[way](name)
    assert refused.value.remedy
    assert "\n" not in refused.value.problem
    assert all(sign.isprintable() for sign in refused.value.problem)
    assert not (settings.data_dir / "people").exists()


@hostile(NAMES)
def test_a_name_that_is_looked_up_is_not_found(name, engine, settings):
    before = sorted(settings.data_dir.rglob("*"))
    ways: dict[str, Callable[[str], object]] = {
        "run": engine.runs.get,
        "run to cancel": engine.runs.cancel,
        "run to delete": engine.runs.delete,
        "log": engine.runs.log_tail,
        "sweep": engine.sweeps.get,
        "export": engine.exports.written.delete,
        "session": engine.compare.sessions.load,
        "upload": lambda one: delete_upload(one, settings),
        "adapter": lambda one: resolve_adapter(one, settings),
        "dataset": lambda one: load_dataset(
            spec_from({"dataset": {"source": one}}).dataset, settings
        ),
        "person": lambda one: remove_person(settings.data_dir / "nobody", one),
    }
    if "/" not in name and name not in (".", ".."):  # a hub's id, and folders that there are
        ways["base"] = lambda one: resolve_base_model(one, settings)
    if name in (".", ".."):
        del ways["adapter"]
    for way, given in ways.items():
        with pytest.raises(EngineError) as refused:
            given(name)
        assert len(refused.value.problem) < 1000, way
    assert [path for path in settings.data_dir.rglob("*") if path not in before] in (
        [],
        [settings.data_dir / "audit.jsonl"],
    )


@hostile(NAMES)
def test_an_uploads_own_name_is_made_safe(name, settings, rows_file):
    Engine(settings)
    kept = save_upload(rows_file, f"{name}.jsonl", settings)
    path = Path(kept.path)
    assert path.parent == settings.data_dir / "datasets"
    assert path.name.isascii()
    assert path.name.isprintable()
    assert not path.name.startswith((".", "-"))
    assert len(path.name) < 150
    assert load_dataset(DatasetSpec(source=kept.name), settings).rows


def test_reserved_names_are_those_that_mean_something_here(folders):
    for way, name in (("adapter", "base"), ("model", "starter"), ("person", "local")):
        with pytest.raises(EngineError, match=name):
            folders[way](name)


def test_names_that_people_do_give_are_taken(folders):
    assert spec_from({"name": "Pirat r8 · 秩 8 (v2.1) = 1/2"}).name.startswith("Pirat")
    assert RunSpec(name="ab").name == "ab"
    for way in ("adapter", "model", "export"):
        assert folders[way]("Pirat_r8-v2.1").name == "Pirat_r8-v2.1"
