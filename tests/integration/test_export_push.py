"""An export pushed to a hub on this machine: whole, private and without a path, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from safetensors.torch import load

from lora_engine.base_models import resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError
from lora_engine.export import HubTarget
from lora_engine.settings import Settings
from tests.compare_models import save_adapter
from tests.hub_server import TOKEN, running_hub

ROOT = Path(__file__).resolve().parents[2]
PROVENANCE = {"base_model": "starter", "spec": {"dataset": {"source": "/home/ann/rows.jsonl"}}}


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("push")
    settings = Settings(data_dir=folder, models_dir=folder / "models", device="cpu")
    base = resolve_base_model("starter", settings)
    adapter = save_adapter(folder / "adapters" / "known", base, r=4, lora_alpha=8)
    (adapter / "README.md").unlink()
    (adapter / "provenance.json").write_text(json.dumps(PROVENANCE), "utf-8")
    return settings


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with running_hub() as state:
        monkeypatch.setattr(constants, "ENDPOINT", state.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield state


@pytest.fixture
def export(settings, tmp_path):
    def run(push="me/pirate", form="portable", private=True, overwrite=False, name="out"):
        return Engine(settings).exports.export(
            "known", tmp_path / name, form,
            measure=False, push=HubTarget(push, private), overwrite=overwrite,
        )  # fmt: skip

    return run


def test_all_of_it_is_pushed_in_one_commit(hub, export, tmp_path):
    report = export()
    repository = hub.repositories["me/pirate"]
    assert repository.private
    assert len(repository.commits) == 2  # the hub's own, and ours
    here = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    there = {name: content for name, content in repository.files.items() if name[0] != "."}
    assert set(there) == set(here)
    cleaned = ("adapter_config.json", "provenance.json")
    assert {name for name in here if here[name] != there[name]} == set(cleaned)
    assert load(there["adapter_model.safetensors"]).keys()
    assert hub.objects  # the weights went another way than the small files
    told = report.pushed
    assert (told.id, told.revision, told.private) == ("me/pirate", repository.head, True)
    assert (told.files, told.bytes) == (len(here), sum(map(len, there.values())))
    assert told.url == f"{hub.endpoint}/me/pirate"


def test_what_is_pushed_names_no_path_and_the_export_here_stays_as_it_was(hub, export, tmp_path):
    export()
    there = hub.repositories["me/pirate"].files
    assert not [
        name for name, content in there.items() if b"/home" in content or b"/tmp" in content
    ]
    base = json.loads(there["adapter_config.json"])["base_model_name_or_path"]
    here = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (base, Path(here["base_model_name_or_path"]).is_dir()) == ("starter", True)
    card = ModelCard(there["README.md"].decode())
    assert "adapter = 'me/pirate'" in card.text


def test_a_merged_model_is_pushed_and_can_be_public(hub, export):
    report = export(form="merged", private=False)
    files = hub.repositories["me/pirate"].files
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= files.keys()
    assert (report.pushed.private, hub.repositories["me/pirate"].private) == (False, False)


def test_a_repository_with_files_is_replaced_only_when_that_is_said(hub, export, tmp_path):
    old = hub.add("me/pirate", True, {"old.bin": b"old", "README.md": b"old"})
    with pytest.raises(Conflict, match="me/pirate"):
        export()
    assert (len(old.commits), (tmp_path / "out").exists()) == (1, False)
    export(overwrite=True)
    assert "old.bin" not in old.files
    assert old.files["README.md"] != b"old"
    assert [*old.commits.values()][0]["old.bin"] == b"old"  # it is in the history still


def test_an_export_written_before_is_pushed_and_an_earlier_push_is_still_asked_about(
    hub, settings, tmp_path
):
    exports, out = Engine(settings).exports, tmp_path / "out"
    exports.export("known", out, "portable", measure=False)
    options = {"measure": False, "overwrite": True, "overwrite_push": False}
    target = HubTarget("me/pirate")
    pushed = exports.export("known", out, "portable", push=target, **options).pushed
    assert pushed.id == "me/pirate"
    before = (out / "adapter_config.json").stat().st_ino
    with pytest.raises(Conflict, match="me/pirate"):
        exports.export("known", out, "portable", push=target, **options)
    assert (out / "adapter_config.json").stat().st_ino == before  # refused before it is written


def test_a_public_repository_is_no_place_for_a_private_export(hub, export, tmp_path):
    known = hub.add("we/pirate", False, {})
    with pytest.raises(Conflict, match="public"):
        export("we/pirate")
    assert not (tmp_path / "out").exists()
    export("we/pirate", private=False)
    assert "README.md" in known.files


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/whoami-v2", 401, "HF_TOKEN"),
        ("/api/whoami-v2", 503, "503"),
        ("/api/models/me/pirate", 403, "may not write"),
    ],
)
def test_what_the_hub_refuses_first_leaves_nothing_anywhere(
    hub, export, tmp_path, path, status, said
):
    hub.refuse[path] = status
    with pytest.raises(EngineError) as caught:
        export()
    assert said in str(caught.value)
    for untold in ("hf_", "/srv"):
        assert untold not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not hub.repositories


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/api/repos/create", 403, EngineError),
        ("/api/models/me/pirate/preupload", 500, EngineError),
        ("/lfs/", 403, EngineError),
        ("/api/models/me/pirate/commit", 412, Conflict),
        ("/api/validate-yaml", 400, EngineError),
    ],
)
def test_a_push_that_fails_half_way_commits_nothing_and_the_export_stays(
    hub, export, tmp_path, monkeypatch, path, status, kind
):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # its retries
    hub.refuse[path] = status
    with pytest.raises(kind) as caught:
        export()
    assert str(tmp_path / "out") in caught.value.problem
    assert "hf_" not in str(caught.value)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    commits = [one for known in hub.repositories.values() for one in known.commits]
    assert len(commits) == len(hub.repositories)  # the hub's own alone
    hub.refuse.clear()
    export(overwrite=True)
    assert "README.md" in hub.repositories["me/pirate"].files


def test_a_file_that_the_hub_lost_is_noticed(hub, export):
    hub.loses = "adapter_model.safetensors"
    with pytest.raises(EngineError, match="adapter_model.safetensors"):
        export()


@pytest.mark.parametrize("name", ["pirate", "me/../x", "me/a b", "https://hub.co/me/x", "/me/x"])
def test_a_name_that_is_none_is_refused_before_the_hub_is_asked(hub, export, name):
    with pytest.raises(EngineError, match="OWNER/NAME"):
        export(name)
    assert hub.asked == []


def test_another_owner_is_refused_by_name(hub, export):
    with pytest.raises(EngineError, match="me, we"):
        export("them/pirate")


def test_without_a_token_the_login_is_named(hub, export, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(EngineError, match="hf auth login"):
        export()


def test_a_hub_that_does_not_answer_is_said(hub, export, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EngineError, match="cannot be reached"):
        export()


def test_offline_is_said(hub, export, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EngineError, match="HF_HUB_OFFLINE"):
        export()


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("ollama", "folder on this machine"),
        ("gguf", "no model card"),
        ("merged-gguf", "no model card"),
    ],
)
def test_a_form_that_is_not_for_the_hub_is_not_pushed(hub, export, form, why):
    with pytest.raises(EngineError, match=why):
        export(form=form)
    assert hub.asked == []


def test_the_command_pushes_and_never_prints_the_token(hub, settings, tmp_path):
    words = ["export", "known", "-o", str(tmp_path / "out"), "--as", "adapter", "--no-measure"]
    environment = {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "LORA_DATA_DIR": str(settings.data_dir),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "lora_engine", *words, "--push", "me/told", "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pushed = json.loads(done.stdout)["pushed"]
    assert (pushed["id"], pushed["private"]) == ("me/told", True)
    assert pushed["revision"] == hub.repositories["me/told"].head
    assert TOKEN not in done.stdout + done.stderr
