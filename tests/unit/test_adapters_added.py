"""Adapters from elsewhere, notes and tags, one adapter opened, its code and its zip."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from huggingface_hub import HfApi, constants
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig

from lora_engine.__main__ import main
from lora_engine.adapters import importing
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.library import AdapterLibrary
from lora_engine.base_models import BaseModel, fingerprint
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError, InvalidInput, NotFound
from lora_engine.spectrum import describe_adapter as describe_spectrum
from pages.adapters.routes import add_routes, zip_address
from tests.adapter_forms import make
from tests.compare_models import TINY, save_adapter, save_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    """Two ranks, two alphas, rsLoRA, and a provenance that names the base."""
    folder = save_adapter(
        tmp_path_factory.mktemp("made") / "pirate", base, r=4, lora_alpha=8, use_rslora=True,
        target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 2},
        alpha_pattern={"model.layers.0.self_attn.q_proj": 3},
    )  # fmt: skip
    provenance = {
        "run": "aa11", "spec": {"name": "pirate r4", "dataset": {"source": "starter:pirate"}},
        "base_model": str(base.path), "base_fingerprint": fingerprint(base),
        "data_hash": "d" * 8, "chat_template": "", "chat_template_hash": "t" * 8,
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


@pytest.fixture
def library(settings) -> AdapterLibrary:
    return AdapterLibrary(settings)


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


def test_details_give_every_module_as_peft_has_it(library, adapter, base):
    found = library.details(str(adapter))
    model = AutoModelForCausalLM.from_pretrained(base.path)
    model = PeftModel.from_pretrained(model, adapter).double()
    layers = {name: part for name, part in model.named_modules() if hasattr(part, "lora_A")}
    assert len(found.modules) == len(layers) == 4
    for module in found.modules:
        layer = layers[f"base_model.model.{module.name}"]
        assert module.scaling == pytest.approx(layer.scaling["default"], rel=1e-12)
        assert module.a_shape == tuple(layer.lora_A["default"].weight.shape)
        assert module.b_shape == tuple(layer.lora_B["default"].weight.shape)
        assert module.a_norm == pytest.approx(float(layer.lora_A["default"].weight.norm()))
        assert module.norm == pytest.approx(float(layer.get_delta_weight("default").norm()))
    assert found.parameters == sum(
        value.numel() for name, value in model.named_parameters() if "lora_" in name
    )
    ranks = {module.name.rpartition(".")[2]: module.rank for module in found.modules}
    assert ranks == {"q_proj": 4, "v_proj": 2}
    assert len(found.scalings) == 3


def test_details_say_where_it_comes_from_and_that_it_is_sound(library, adapter, base):
    found = library.details(str(adapter))
    weights = sum(path.stat().st_size for path in base.path.glob("*.safetensors"))
    assert found.base_bytes == weights
    assert found.summary.bytes == (adapter / WEIGHTS_FILE).stat().st_size
    assert (found.data_hash, found.template_hash) == ("d" * 8, "t" * 8)
    assert found.dtypes == ("F32",)
    assert [(check.name, check.ok) for check in found.checks] == [
        ("whole", True),
        ("finite", True),
        ("right base", True),
    ]
    assert fingerprint(base) in found.checks[2].words


@pytest.mark.parametrize(
    ("change", "name", "ok", "words"),
    [
        ("nan", "finite", False, "lora_A.weight holds 1 values"),
        ("half", "whole", False, "lacks B"),
        ("other base", "right base", False, "with fingerprint"),
        ("no base", "right base", None, "not on this machine"),
        ("no provenance", "right base", None, "does not say which base model"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_said_at_its_check(
    library, adapter, tmp_path, change, name, ok, words
):
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in adapter.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / WEIGHTS_FILE)
    key = next(key for key in sorted(tensors) if "lora_A" in key)
    provenance = json.loads((folder / "provenance.json").read_text())
    if change == "nan":
        tensors[key][0, 0] = float("nan")
    elif change == "half":
        del tensors[key.replace("lora_A", "lora_B")]
    elif change == "other base":
        provenance["base_fingerprint"] = "0" * 16
    elif change == "no base":
        provenance["base_model"] = "/nowhere/model"
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / "provenance.json").write_text(json.dumps(provenance))
    if change == "no provenance":
        (folder / "provenance.json").unlink()
    found = library.details(str(folder))
    check = next(check for check in found.checks if check.name == name)
    assert check.ok is ok
    assert words in check.words
    if change == "nan":
        module = next(one for one in found.modules if one.name in key)
        assert (module.a_norm, module.norm) == (None, None)


@pytest.mark.parametrize("changes", [{"use_dora": True}, {"target_modules": ["embed_tokens"]}])
def test_norms_are_those_of_the_spectrum(library, base, tmp_path, changes):
    found = library.details(str(save_adapter(tmp_path / "a", base, **changes)))
    expected = {one.name: one for one in describe_spectrum(found.summary.path).modules}
    for module in found.modules:
        assert module.norm == pytest.approx(expected[module.name].frobenius_norm, rel=1e-6)


def test_the_norm_of_fused_experts_is_that_over_all_of_them(library, tmp_path):
    config = MixtralConfig(**TINY, num_local_experts=4, num_experts_per_tok=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    base = BaseModel("mixtral", tmp_path / "base")
    targets = ["experts.gate_up_proj", "experts.down_proj"]
    make(
        base, tmp_path / "a", LoraConfig(r=4, target_modules=["q_proj"], target_parameters=targets)
    )
    found = library.details(str(tmp_path / "a"))
    spectrum = describe_spectrum(tmp_path / "a").modules
    squares: dict[str, float] = {}
    for one in spectrum:
        holder, _, last = one.name.rpartition(".")
        name = f"{holder.rpartition('.')[0]}.{last}" if holder[-1].isdigit() else one.name
        squares[name] = squares.get(name, 0.0) + one.frobenius_norm**2
    assert len(found.modules) == len(squares) == 6
    for module in found.modules:
        assert module.norm == pytest.approx(squares[module.name] ** 0.5, rel=1e-6)


def test_the_code_that_loads_it_runs_and_answers(library, adapter, base, capsys):
    code = library.loading_code(str(adapter))
    names: dict = {}
    exec(compile(code, "loading_code", "exec"), names)
    assert isinstance(names["model"], PeftModel)
    assert str(adapter) in code
    ids = names["inputs"]["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(base.path)
    expected = PeftModel.from_pretrained(plain, adapter).eval()(ids).logits
    np.testing.assert_allclose(
        names["model"](ids).logits.detach(), expected.detach(), rtol=1e-5, atol=1e-5
    )
    capsys.readouterr()


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


# --- the model hub, answered by a server of this test ---


class Hub(BaseHTTPRequestHandler):
    """As much of a model hub as one download asks of it."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/org/pirate/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.files.items()
            ]
            return self._send(200, json.dumps(tree).encode(), body, {})
        if path.startswith("/api/models/org/pirate"):
            siblings = [
                {"rfilename": name, "size": len(content)} for name, content in self.files.items()
            ]
            document = {"id": "org/pirate", "sha": "c" * 40, "siblings": siblings}
            return self._send(200, json.dumps(document).encode(), body, {})
        name = path.rpartition("/")[2]
        if path.startswith("/org/pirate/resolve/") and name in self.files:
            content = self.files[name]
            self.asked.append(name)
            headers = {"X-Repo-Commit": "c" * 40, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            return self._send(200, content, body, headers)
        return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def hub(adapter, monkeypatch):
    """A hub with the adapter and files that are none of its own: (its api, what was fetched)."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    files = {file.name: file.read_bytes() for file in adapter.iterdir()}
    files |= {"adapter_model.bin": b"\x80\x04", "modeling.py": b"evil", "a/more.safetensors": b""}
    asked: list[str] = []
    handler = type("Answering", (Hub,), {"files": files, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield HfApi(endpoint=f"http://127.0.0.1:{server.server_port}"), files, asked
    server.shutdown()
    server.server_close()


def test_of_a_hubs_repository_the_adapters_files_alone_are_fetched(hub, settings, adapter):
    api, _, asked = hub
    folder = importing.add_from_hub("org/pirate", settings, api=api)
    assert folder == settings.data_dir / "adapters" / "pirate"
    names = {path.name for path in folder.rglob("*")}
    assert names == {CONFIG_FILE, WEIGHTS_FILE, "provenance.json", "README.md"} & {
        path.name for path in adapter.iterdir()
    }
    assert set(asked) == names
    assert (folder / WEIGHTS_FILE).read_bytes() == (adapter / WEIGHTS_FILE).read_bytes()


def test_a_pickle_alone_on_the_hub_is_refused_before_it_is_fetched(hub, settings):
    api, files, asked = hub
    del files[WEIGHTS_FILE]
    with pytest.raises(NotFound, match="adapter_model.bin is not opened"):
        importing.add_from_hub("org/pirate", settings, api=api)
    assert asked == []


def test_an_adapter_too_large_is_refused_before_it_is_fetched(hub, settings, monkeypatch):
    api, _, asked = hub
    monkeypatch.setattr(importing, "MAX_BYTES", 1_000)
    with pytest.raises(EngineError, match="at most 1,000"):
        importing.add_from_hub("org/pirate", settings, api=api)
    assert asked == []


def test_what_the_hub_does_not_know_is_said(hub, settings):
    with pytest.raises(NotFound, match="the hub knows no such model"):
        importing.add_from_hub("org/nothing", settings, api=hub[0])
    assert not list((settings.data_dir / "adapters").glob("*"))


def test_a_full_disk_is_not_said_to_be_the_hubs(hub, settings, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub[0], "snapshot_download", full)
    with pytest.raises(EngineError, match="No space left on device"):
        importing.add_from_hub("org/pirate", settings, api=hub[0])
    assert not list((settings.data_dir / "adapters").glob("*"))


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_is_not_reached_is_said_and_nothing_is_left(settings, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    api = HfApi(endpoint="http://127.0.0.1:9")
    with pytest.raises(NotFound, match="the hub cannot be reached"):
        importing.add_from_hub("org/pirate", settings, api=api)
    assert not list((settings.data_dir / "adapters").glob("*"))


# --- the command line, in this process ---


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
