"""The settings page: use is shown to everybody, settings to who manages, secrets to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lora_engine import doctor
from lora_engine.access import Person, acting_as
from lora_engine.data.uploads import save_upload
from lora_engine.engine import Engine
from lora_engine.quotas import MEGABYTE
from lora_engine.settings import Settings, environment_names
from lora_engine.usage import quotas_used
from pages.settings import add_routes, settings_html

TOKEN = "t-do-not-show-this-token"
ANNA = Person("anna", "run", "10.0.0.1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    rows = tmp_path / "rows.txt"
    rows.write_text("x" * 1_200_000)
    found = Settings(
        data_dir=tmp_path / "data",
        models_dir=tmp_path / "<models>",
        token=TOKEN,
        max_datasets_mb=7,
        allowed_hosts=("lab.example",),
    )
    save_upload(rows, "rows.txt", found)
    return found


def shown(settings: Settings) -> str:
    return with_spaces(settings_html(settings))


def with_spaces(page: str) -> str:
    return page.replace("\N{NO-BREAK SPACE}", " ")


def test_who_manages_sees_every_variable_and_no_secret(settings: Settings, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_show_this_either")
    page = shown(settings)
    assert [name for name in environment_names().values() if name not in page] == []
    assert "1.2 MB of 7 MB" in page
    assert str(settings.data_dir) in page
    assert "lab.example" in page
    assert TOKEN not in page
    assert "hf_do_not" not in page
    assert "&lt;models&gt;" in page
    assert "<models>" not in page


def test_others_see_what_is_used_and_their_share_alone(settings: Settings) -> None:
    with acting_as(ANNA):
        page = shown(settings)
    assert "1.2 MB of 7 MB" in page
    assert "Your datasets and adapters" in page
    assert str(settings.data_dir) not in page
    assert "lab.example" not in page
    assert "LORA_TOKEN" not in page


def test_it_is_served_in_both_languages_with_the_memory_of_matrices(settings: Settings) -> None:
    app = FastAPI()
    add_routes(app, Engine(settings), lambda: 3 * MEGABYTE)
    client = TestClient(app)
    assert "3 MB of 1,000 MB" in with_spaces(client.get("/settings").text)
    chinese = client.get("/zh/settings").text
    assert '<html lang="zh-CN">' in chinese
    assert "环境变量" in chinese


def test_a_list_that_cannot_be_read_hides_nothing_else(settings: Settings) -> None:
    settings.database_path.write_bytes(b"no database" * 1_000)
    used = {one.variable: one for one in quotas_used(settings)}
    assert used["LORA_MAX_QUEUED"].problem
    assert used["LORA_MAX_DATASETS_MB"].used == "1.2 MB"
    assert "1.2 MB of 7 MB" in shown(settings)


def test_the_doctor_tells_what_is_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("_cuda", "_bitsandbytes"):
        monkeypatch.setattr(doctor, slow, lambda: doctor.Check("not asked", True, ""))
    full = settings.model_copy(update={"max_datasets_mb": 1})
    for one, is_well in ((settings, True), (full, False)):
        checks = {check.name: check for check in doctor.run_checks(one)}
        assert checks["Uploaded datasets"].ok is is_well
        assert "1.2 MB" in checks["Uploaded datasets"].detail
