"""Adapters from elsewhere: added, annotated, found, taken away as a zip, deleted."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from functools import partial

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lora_engine.__main__ import main
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.library import AdapterLibrary
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError, InvalidInput, NotFound
from pages.adapters.routes import add_routes, zip_address
from tests.compare_models import save_adapter


def test_a_folder_is_copied_under_its_own_name_and_the_source_stays(library, settings, adapter):
    before = sorted(path.name for path in adapter.iterdir())
    added = library.add(str(adapter))
    assert (added.name, added.path) == ("pirate", settings.data_dir / "adapters" / "pirate")
    assert (added.rank, added.alpha, added.dataset) == (4, 8, "starter:pirate")
    assert added.targets == "q_proj, v_proj"
    assert sorted(path.name for path in adapter.iterdir()) == before
    assert library.is_added(added)
    with pytest.raises(Conflict, match="'pirate' is here already"):
        library.add(str(adapter))
    assert library.add(str(adapter), "again").name == "again"


def test_a_sources_other_files_are_left_behind(library, adapter, tmp_path):
    source = tmp_path / "with more"
    source.mkdir()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (source / name).write_bytes((adapter / name).read_bytes())
    (source / "optimizer.pt").write_bytes(b"\x80\x04")
    added = library.add(str(source))
    assert added.name == "with-more"
    assert sorted(path.name for path in added.path.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


@pytest.mark.parametrize("missing", [CONFIG_FILE, WEIGHTS_FILE])
def test_half_a_folder_is_refused_and_nothing_is_left(
    library, settings, adapter, tmp_path, missing
):
    source = tmp_path / "half"
    source.mkdir()
    kept = WEIGHTS_FILE if missing == CONFIG_FILE else CONFIG_FILE
    (source / kept).write_bytes((adapter / kept).read_bytes())
    with pytest.raises(NotFound, match=missing):
        library.add(str(source))
    assert not list((settings.data_dir / "adapters").glob("*"))


@pytest.mark.parametrize("source", ["", "nowhere", "../nowhere", "a/b/c"])
def test_what_is_no_source_is_refused(library, source):
    with pytest.raises(NotFound, match="no folder, no zip file and no hub id"):
        library.add(source)


def test_only_an_added_adapter_is_deleted_and_its_note_goes_with_it(library, settings, adapter):
    added = library.add(str(adapter))
    library.annotate("pirate", "a note", ["keep"])
    with pytest.raises(Conflict, match="not added here"):
        library.delete(str(adapter))
    library.delete("pirate")
    assert not added.path.exists()
    assert adapter.exists()
    assert library.add(str(adapter)).note == ""


def test_a_link_in_the_folder_of_added_adapters_is_not_followed_to_delete(
    library, settings, adapter
):
    folder = settings.data_dir / "adapters"
    folder.mkdir(parents=True)
    (folder / "linked").symlink_to(adapter, target_is_directory=True)
    with pytest.raises(Conflict):
        library.delete("linked")
    assert (adapter / CONFIG_FILE).exists()


def test_notes_and_tags_are_kept_apart_from_the_adapter(library, settings, adapter):
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    kept = library.annotate(str(adapter), "  The first.  ", ["good", " good", "pirate"])
    assert (kept.note, kept.tags) == ("The first.", ("good", "pirate"))
    again = AdapterLibrary(settings).get(str(adapter))
    assert (again.note, again.tags) == (kept.note, kept.tags)
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before
    with pytest.raises(InvalidInput, match="tags.0"):
        library.annotate(str(adapter), "", ["x" * 41])
    assert AdapterLibrary(settings).get(str(adapter)).tags == ("good", "pirate")
    library.annotate(str(adapter), "", [])
    assert AdapterLibrary(settings).get(str(adapter)).note == ""


def test_adapters_are_found_by_words_and_tags_and_sorted(library, adapter, base, tmp_path):
    for name, rank in (("zeta", 2), ("alpha", 6)):
        library.add(str(save_adapter(tmp_path / name, base, r=rank)))
    library.add(str(adapter), "pirate")
    library.annotate("zeta", "Talks like a PIRATE", ["good"])
    names = lambda **how: [one.name for one in library.list(**how) if not one.bundled]  # noqa: E731
    assert sorted(names(find="pirate")) == ["pirate", "zeta"]
    assert names(find="pirate talks") == ["zeta"]
    assert names(find="starter:PIRATE") == ["pirate"]
    assert names(tag="good") == ["zeta"]
    assert names(tag="goo") == []
    assert names(order="name") == ["alpha", "pirate", "zeta"]
    assert names(order="rank") == ["zeta", "pirate", "alpha"]
    with pytest.raises(InvalidInput, match="newest, name, rank, size, loss"):
        library.list(order="colour")


def test_a_zip_is_the_same_each_time_and_is_taken_again(library, adapter, tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    written = library.write_zip(str(adapter), first)
    again = library.write_zip(str(adapter), second)
    assert written.name == "pirate.zip"
    assert written.read_bytes() == again.read_bytes()
    added = library.add(str(written), "back")
    for name in (CONFIG_FILE, WEIGHTS_FILE, "provenance.json"):
        assert (added.path / name).read_bytes() == (adapter / name).read_bytes()


def test_a_zip_that_cannot_be_written_leaves_nothing(library, adapter, tmp_path):
    with pytest.raises(EngineError, match="cannot be written"):
        library.write_zip(str(adapter), tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_what_is_stopped_before_its_name_leaves_nothing(library, settings, adapter):
    stop = StopSignal()
    stop.set()
    with pytest.raises(Stopped):
        library.add(str(adapter), stop=stop)
    assert not list((settings.data_dir / "adapters").glob("*"))


def test_the_page_gives_an_adapter_as_a_zip_and_nothing_else(settings, adapter, tmp_path):
    app = FastAPI()
    engine = Engine(settings)
    add_routes(app, engine)
    client = TestClient(app)
    got = client.get(zip_address(str(adapter)))
    assert got.content == engine.adapters.write_zip(str(adapter), tmp_path).read_bytes()
    assert got.headers["content-disposition"] == 'attachment; filename="pirate.zip"'
    for wrong in ("", "nothing", "/etc", "/etc/passwd", str(adapter.parent)):
        refused = client.get(zip_address(wrong))
        assert refused.status_code in (400, 404)
        assert {"problem", "remedy"} == set(refused.json())


def command(monkeypatch, settings, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(sys, "argv", ["rankscope", *map(str, arguments)])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def test_the_command_line_adds_shows_finds_zips_and_deletes(
    monkeypatch, settings, adapter, tmp_path
):
    run = partial(command, monkeypatch, settings)
    assert json.loads(run("add-adapter", adapter, "--name", "mine", "--json")[1])["name"] == "mine"
    shown = json.loads(run("show-adapter", "mine", "--json")[1])
    assert {"name", "base", "rank", "modules", "bytes"} <= set(shown)
    assert set(shown["modules"][0]) >= {"name", "a_shape", "b_shape", "scaling", "norm"}
    assert (shown["rank"], shown["bytes"]) == (4, (adapter / WEIGHTS_FILE).stat().st_size)
    assert shown["modules"][0]["a_shape"][0] in (2, 4)
    assert "right base: yes" in run("show-adapter", "mine")[1]
    assert run("annotate-adapter", "mine", "--note", "n", "--tag", "t")[0] == 0
    assert [one["name"] for one in json.loads(run("adapters", "--tag", "t", "--json")[1])] == [
        "mine"
    ]
    assert json.loads(run("adapters", "--find", "nothing", "--json")[1]) == []
    target = tmp_path / "mine.zip"
    assert json.loads(run("zip-adapter", "mine", "-o", target, "--json")[1])["path"] == str(target)
    assert run("zip-adapter", "mine", "-o", target)[0] == 2
    code, out, err = run("add-adapter", target, "--name", "mine")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert run("delete-adapter", adapter, "--yes")[0] == 2
    assert run("delete-adapter", "mine")[0] == 2
    assert run("delete-adapter", "mine", "--yes")[0] == 0
    left = json.loads(run("adapters", "--json")[1])
    assert [one["bundled"] for one in left] == [True]
    assert run("delete-adapter", left[0]["name"], "--yes")[0] == 2
