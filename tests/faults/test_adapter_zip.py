"""Zips of adapters that are bombs, lead elsewhere or hold none: refused, and nothing is left."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lora_engine.adapters import importing, zip_import
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.library import AdapterLibrary, list_adapters
from lora_engine.errors import Conflict, EngineError, InvalidInput
from tests.compare_models import save_adapter, save_base


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    """A sound adapter with a provenance and a card."""
    base = save_base(tmp_path_factory.mktemp("base"))
    folder = save_adapter(tmp_path_factory.mktemp("adapters") / "sound", base)
    (folder / "README.md").write_text("A card.")
    return folder


def written(path: Path, entries: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def files_of(adapter: Path, below: str = "") -> dict[str, bytes]:
    names = (CONFIG_FILE, WEIGHTS_FILE, "README.md")
    return {below + name: (adapter / name).read_bytes() for name in names}


def refused(path: Path, settings, error: type[EngineError] = EngineError) -> str:
    """The problem with which the zip is refused, after which the data folder is as before."""
    with pytest.raises(error) as caught:
        AdapterLibrary(settings).add_upload(path, "sent.zip")
    assert all(one.bundled for one in list_adapters(settings))
    assert not list((settings.data_dir / "adapters").glob("**/*"))
    return f"{caught.value.problem} {caught.value.remedy}"


@pytest.mark.parametrize("below", ["", "pirate/", "./pirate/"])
def test_an_adapter_at_the_root_or_in_one_folder_is_added(adapter, settings, tmp_path, below):
    extra = {"pirate/training_args.bin": b"\x80\x04", "__MACOSX/pirate/._adapter_config.json": b"x"}
    path = written(tmp_path / "z.zip", {**extra, **files_of(adapter, below)})
    if below.startswith("."):
        assert "sent.zip" in refused(path, settings)
        return
    added = AdapterLibrary(settings).add_upload(path, "My pirate (2).zip")
    assert added.name == "My-pirate-2"
    assert added.path == settings.data_dir / "adapters" / "My-pirate-2"
    found = sorted(file.name for file in added.path.iterdir())
    assert found == ["README.md", CONFIG_FILE, WEIGHTS_FILE]
    assert (added.path / WEIGHTS_FILE).read_bytes() == (adapter / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize(
    "entry",
    ["../evil.txt", "a/../../evil.txt", "/etc/evil", "C:evil", "c:\\evil", "a\\..\\evil", "\\evil"],
)
def test_an_entry_that_leads_out_refuses_the_whole_zip(adapter, settings, tmp_path, entry):
    path = written(tmp_path / "z.zip", {**files_of(adapter), entry: b"x"})
    assert "leads out of it" in refused(path, settings)
    assert not [*tmp_path.glob("**/evil*")]


def test_a_link_is_refused(adapter, settings, tmp_path):
    path = written(tmp_path / "z.zip", files_of(adapter))
    link = zipfile.ZipInfo("provenance.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "'provenance.json' is a link" in refused(path, settings)


def test_a_name_twice_is_refused(adapter, settings, tmp_path):
    path = written(tmp_path / "z.zip", files_of(adapter))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CONFIG_FILE, "{}")
    assert "twice" in refused(path, settings)


def test_a_bomb_is_refused_by_what_it_declares(adapter, settings, tmp_path):
    entries = {**files_of(adapter), WEIGHTS_FILE: bytes(64 * 2**20)}
    path = written(tmp_path / "z.zip", entries)
    assert path.stat().st_size < 100_000
    assert "times its size" in refused(path, settings)


def test_a_bomb_that_declares_little_is_stopped_while_it_is_read(adapter, settings, tmp_path):
    entries = {**files_of(adapter), WEIGHTS_FILE: bytes(64 * 2**20)}
    path = written(tmp_path / "z.zip", entries)
    data = bytearray(path.read_bytes())
    place = data.rindex(WEIGHTS_FILE.encode()) - 46  # its entry in the archive's directory
    assert data[place : place + 4] == b"PK\x01\x02"
    struct.pack_into("<I", data, place + 24, 5_000)
    path.write_bytes(data)
    refused(path, settings)


def test_a_bomb_is_stopped_by_the_bytes_that_come_out(adapter, settings, tmp_path, monkeypatch):
    entries = {**files_of(adapter), WEIGHTS_FILE: bytes(64 * 2**20)}
    path = written(tmp_path / "z.zip", entries)
    monkeypatch.setattr(zip_import, "_check_sizes", lambda *_: None)
    assert "more than 16,777,216 bytes" in refused(path, settings)


def test_what_is_unpacked_is_counted_over_all_files(adapter, settings, tmp_path, monkeypatch):
    path = written(tmp_path / "z.zip", files_of(adapter))
    monkeypatch.setattr(zip_import, "MAX_BYTES", (adapter / WEIGHTS_FILE).stat().st_size - 1)
    assert "unpacks to" in refused(path, settings)


def test_a_list_of_too_many_entries_is_refused_before_it_is_read(settings, tmp_path, monkeypatch):
    path = written(tmp_path / "z.zip", {f"{number}": b"" for number in range(1_200)})
    monkeypatch.setattr(zip_import.zipfile, "ZipFile", None)
    assert "1,200 entries" in refused(path, settings)


def test_a_large_small_file_is_refused(adapter, settings, tmp_path):
    entries = {**files_of(adapter), "provenance.json": os.urandom(1_000_001)}
    path = written(tmp_path / "z.zip", entries)
    assert "provenance.json has 1,000,001 bytes" in refused(path, settings)


@pytest.mark.parametrize("name", ["adapter_model.bin", "a.pt", "a.pth", "a.pkl"])
def test_pickled_weights_are_refused_by_name(adapter, settings, tmp_path, name):
    entries = {CONFIG_FILE: (adapter / CONFIG_FILE).read_bytes(), name: b"\x80\x04"}
    assert f"{name} is not opened" in refused(written(tmp_path / "z.zip", entries), settings)


@pytest.mark.parametrize(
    ("keep", "found"),
    [
        ([], "found: none"),
        ([CONFIG_FILE], "half an adapter"),
        ([WEIGHTS_FILE], "found: none"),
    ],
)
def test_half_an_adapter_is_refused(adapter, settings, tmp_path, keep, found):
    entries = {"README.md": b"x", **{name: (adapter / name).read_bytes() for name in keep}}
    assert found in refused(written(tmp_path / "z.zip", entries), settings)


def test_two_adapters_in_one_zip_are_refused_with_both_names(adapter, settings, tmp_path):
    entries = {**files_of(adapter, "a/"), **files_of(adapter, "b/")}
    problem = refused(written(tmp_path / "z.zip", entries), settings)
    assert "'a/adapter_config.json', 'b/adapter_config.json'" in problem


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"not a zip", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18],
)
def test_what_is_no_zip_is_refused(settings, tmp_path, content):
    (tmp_path / "z.zip").write_bytes(content)
    assert "sent.zip" in refused(tmp_path / "z.zip", settings)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_zip_is_refused_or_gives_a_sound_adapter(adapter, settings, tmp_path, seed):
    data = bytearray(written(tmp_path / "z.zip", files_of(adapter)).read_bytes())
    place = (seed * 7919) % 400 if seed % 2 else len(data) - 1 - (seed * 7919) % 400
    data[place] ^= 1 << (seed % 8)
    (tmp_path / "z.zip").write_bytes(data)
    try:
        added = AdapterLibrary(settings).add_upload(tmp_path / "z.zip", "sent.zip")
    except EngineError:
        assert not list((settings.data_dir / "adapters").glob("**/*"))
    else:
        assert (added.path / WEIGHTS_FILE).read_bytes() == (adapter / WEIGHTS_FILE).read_bytes()


def test_an_encrypted_zip_is_refused(adapter, settings, tmp_path):
    data = bytearray(written(tmp_path / "z.zip", files_of(adapter)).read_bytes())
    place = data.rindex(WEIGHTS_FILE.encode()) - 46
    data[place + 8] |= 1
    (tmp_path / "z.zip").write_bytes(data)
    assert "encrypted" in refused(tmp_path / "z.zip", settings)


def test_weights_whose_header_names_a_tensor_twice_are_refused(adapter, settings, tmp_path):
    data = (adapter / WEIGHTS_FILE).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].rstrip()
    entry = header[
        header.index(b'"base_model') : header.index(b"}", header.index(b'"base_model')) + 1
    ]
    twice = header[:-1] + b"," + entry + b"}"
    content = len(twice).to_bytes(8, "little") + twice + data[8 + length :]
    path = written(tmp_path / "z.zip", {**files_of(adapter), WEIGHTS_FILE: content})
    assert "twice" in refused(path, settings)


def test_an_index_beside_the_weights_is_left_behind(adapter, settings, tmp_path):
    index = {"weight_map": {"a": "../outside/w.safetensors"}}
    entries = {**files_of(adapter), f"{WEIGHTS_FILE}.index.json": json.dumps(index).encode()}
    path = written(tmp_path / "z.zip", entries)
    added = AdapterLibrary(settings).add_upload(path, "sent.zip")
    assert [file for file in added.path.iterdir() if "index" in file.name] == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_with_its_key(adapter, settings, tmp_path, value):
    tensors = load_file(adapter / WEIGHTS_FILE)
    key = sorted(tensors)[3]
    tensors[key][0, 0] = value
    save_file(tensors, tmp_path / "w.safetensors")
    entries = {**files_of(adapter), WEIGHTS_FILE: (tmp_path / "w.safetensors").read_bytes()}
    problem = refused(written(tmp_path / "z.zip", entries), settings)
    assert f"sent/{WEIGHTS_FILE}: {key} holds 1 values" in problem


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"r": 10**9}, "r: "),
        ({"target_modules": "(a+)+$"}, "target_modules: "),
        ({"peft_type": "LOKR"}, "peft_type: "),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_a_configuration_that_cannot_be_applied_is_refused(
    adapter, settings, tmp_path, change, found
):
    config = {**json.loads((adapter / CONFIG_FILE).read_text()), **change}
    entries = {**files_of(adapter), CONFIG_FILE: json.dumps(config).encode()}
    problem = refused(written(tmp_path / "z.zip", entries), settings)
    assert found in problem
    assert str(settings.data_dir) not in problem


def test_a_name_that_is_here_is_refused_and_the_old_adapter_stays(adapter, settings, tmp_path):
    path = written(tmp_path / "z.zip", files_of(adapter))
    library = AdapterLibrary(settings)
    kept = library.add_upload(path, "sent.zip")
    before = (kept.path / WEIGHTS_FILE).stat().st_mtime_ns
    with pytest.raises(Conflict, match="'sent' is here already"):
        library.add_upload(path, "sent.zip")
    assert (kept.path / WEIGHTS_FILE).stat().st_mtime_ns == before
    assert library.add_upload(path, "sent.zip", "other").name == "other"


@pytest.mark.parametrize("name", ["..", "../x", "a/b", ".hidden", "x" * 81, "a b", "-x"])
def test_a_name_that_is_no_folders_is_refused(adapter, settings, tmp_path, name):
    path = written(tmp_path / "z.zip", files_of(adapter))
    with pytest.raises(InvalidInput, match="name: got"):
        AdapterLibrary(settings).add_upload(path, "sent.zip", name)


def test_a_full_disk_leaves_nothing(adapter, settings, tmp_path, monkeypatch):
    path = written(tmp_path / "z.zip", files_of(adapter))
    full = OSError(28, "No space left on device")

    class Full(io.FileIO):
        def write(self, data):
            raise full

    plain = Path.open
    monkeypatch.setattr(
        Path, "open",
        lambda self, mode="r", *more: Full(self, "w") if mode == "xb" else plain(self, mode, *more),
    )  # fmt: skip
    assert "No space left on device" in refused(path, settings)


def test_a_kill_between_leaves_no_adapter_in_the_list(adapter, settings, tmp_path):
    staging = settings.data_dir / "adapters" / ".sent.123-0.staging"
    staging.mkdir(parents=True)
    for name, content in files_of(adapter).items():
        (staging / name).write_bytes(content)
    assert all(one.bundled for one in list_adapters(settings))


def test_one_that_came_meanwhile_keeps_the_name(adapter, settings, tmp_path, monkeypatch):
    path = written(tmp_path / "z.zip", files_of(adapter))
    check = importing._refuse_unusable

    def meanwhile(folder: Path, target: Path) -> None:
        check(folder, target)
        target.mkdir()
        (target / "first").write_text("")

    monkeypatch.setattr(importing, "_refuse_unusable", meanwhile)
    with pytest.raises(Conflict):
        AdapterLibrary(settings).add_upload(path, "sent.zip")
    found = [file.name for file in (settings.data_dir / "adapters").glob("*")]
    assert found == ["sent"]
