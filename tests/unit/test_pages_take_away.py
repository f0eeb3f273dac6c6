"""The take-away tab: what its fields ask for, what it says of an export, the zip it gives."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lora_engine.base_models import resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import InvalidInput
from lora_engine.export import ExportReport, Fidelity, RequantizedFidelity, ServeCommand
from lora_engine.settings import Settings
from pages.adapters import take_away_html
from pages.adapters.routes import add_routes, export_zip_address
from pages.adapters.take_away_work import (
    ExportChoice,
    export_choice,
    export_endpoint,
    is_suggested,
    suggested_name,
)
from tests.compare_models import save_adapter

SAME = Fidelity(
    agreement=1.0, answers=8, kl=1e-12, loss_before=2.5, loss_after=2.5, rows=32, positions=450,
    rows_from="held-out",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("take-away")
    settings = Settings(data_dir=folder, models_dir=folder / "models")
    base = resolve_base_model("starter", settings)
    save_adapter(folder / "adapters" / "pirate", base, r=4, lora_alpha=8, use_rslora=True)
    return Engine(settings)


def test_a_form_takes_the_options_it_has_a_use_for() -> None:
    def choice(form: str, base: str, dtype: str, system: str) -> ExportChoice:
        return export_choice("name", form, base, dtype, system, True, True, [])

    portable = choice("portable", " ", "float16", "Be brief.")
    assert (portable.base, portable.dtype, portable.system) == (None, None, "")
    assert (portable.with_base, choice("gguf", "", "", "").with_base) == (False, True)
    assert choice("merged", "mine", "float16", "Be brief.").dtype == "float16"
    assert choice("merged", "mine", "", "").dtype is None
    assert choice("ollama", "", "", "Be brief.").system == "Be brief."
    asked = export_choice("name", "portable", "", "", "", False, False, ["int8", "nf4"])
    assert (asked.requantized, asked.is_measured) == (("nf4", "int8"), True)
    with pytest.raises(InvalidInput, match="int2"):
        export_choice("name", "portable", "", "", "", False, False, ["int2"])
    for form, dtype, wrong in (("gguff", "", "gguff"), ("merged", "int8", "int8")):
        with pytest.raises(InvalidInput, match=wrong):
            choice(form, "", dtype, "")


def test_a_name_follows_the_form_until_the_person_writes_one() -> None:
    assert is_suggested(suggested_name("pirate r8", "ollama"), "pirate r8")
    assert not is_suggested("mine", "pirate r8")


def test_the_meter_says_how_far_the_export_is(tmp_path: Path) -> None:
    def said(found: Fidelity | None, *requantized: RequantizedFidelity) -> str:
        report = ExportReport(tmp_path, "portable", found, (), (), None, requantized=requantized)
        return take_away_html.fidelity_html(report)

    assert "answers as what was trained" in said(SAME)
    rounded = Fidelity(**{**vars(SAME), "kl": 1e-3, "loss_after": 2.51})
    assert "2.50 → 2.51" in said(rounded)
    assert "nearly" in said(rounded)
    other = Fidelity(**{**vars(SAME), "agreement": 0.25, "rows_from": "general"})
    assert "6 of 8 answers differ" in said(other)
    assert "general questions" in said(other)
    unasked = Fidelity(**{**vars(SAME), "agreement": None, "answers": 0})
    assert "no row has a question" in said(unasked)
    assert said(None) == ""
    coarse = RequantizedFidelity(**{**vars(SAME), "agreement": 0.5}, quantization="nf4", bits=4)
    assert "nf4 (4 bits)" in said(SAME, coarse)
    assert "4 of 8 answers differ" in said(SAME, coarse)


def test_commands_are_a_script_whose_notes_are_comments() -> None:
    commands = [ServeCommand("vLLM", ("vllm serve x",)), ServeCommand("TGI", (), "no\nrm -rf x")]
    text = take_away_html.commands_text(commands)
    assert text == "# vLLM\nvllm serve x\n\n# TGI: no rm -rf x"


def test_a_merged_model_is_not_compared_as_an_adapter(tmp_path: Path) -> None:
    merged = ExportReport(tmp_path, "merged", None, (), (), None)
    assert "/compare" not in take_away_html.next_steps_html(merged, "pirate", "/zip")
    adapter = ExportReport(tmp_path, "portable", None, (), (), tmp_path)
    assert "/compare" in take_away_html.next_steps_html(adapter, "pirate", "/zip")


def test_the_endpoint_writes_into_exports_and_the_zip_has_it(engine: Engine) -> None:
    export = export_endpoint(engine)
    said = json.loads(json.dumps(export("pirate", "taken", measure=False)))
    folder = engine.settings.data_dir / "exports" / "taken"
    assert (said["path"], said["form"], said["fidelity"]) == (str(folder), "portable", None)
    with pytest.raises(InvalidInput, match="form"):
        export("pirate", "other", form="zip")
    with pytest.raises(InvalidInput, match="name"):
        export("pirate", "../outside", measure=False)

    app = FastAPI()
    add_routes(app, engine)
    client = TestClient(app)
    got = client.get(export_zip_address("taken"))
    assert got.headers["content-disposition"] == 'attachment; filename="taken.zip"'
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        config = archive.read("taken/adapter_config.json")
    assert config == (folder / "adapter_config.json").read_bytes()
    for wrong in ("", "nothing", "../adapters", "/etc"):
        refused = client.get(export_zip_address(wrong))
        assert refused.status_code in (400, 404)
        assert {"problem", "remedy"} == set(refused.json())
