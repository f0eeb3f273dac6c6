"""An adapter of the starter exported, with the fidelity that was measured; and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_engine.__main__ import build
from lora_engine.base_models import resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import Conflict, EngineError
from lora_engine.export.fidelity import Voice, measure
from lora_engine.settings import Settings
from tests.compare_models import save_adapter, save_base

PROVENANCE = {
    "base_model": "starter",
    "spec": {"base_model": "starter", "dataset": {"source": "starter:json"}},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("export")
    return Settings(data_dir=folder, models_dir=folder / "models")


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Engine:
    return Engine(settings)


@pytest.fixture(scope="module")
def adapter(settings: Settings) -> Path:
    """rsLoRA with patterns: what other readers would scale wrongly."""
    base = resolve_base_model("starter", settings)
    folder = save_adapter(
        settings.data_dir / "adapters" / "known",
        base,
        r=4,
        lora_alpha=6,
        use_rslora=True,
        rank_pattern={"v_proj": 2},
    )
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE), "utf-8")
    return folder


@pytest.mark.parametrize("form", ["adapter", "portable"])
def test_an_export_answers_as_what_was_trained(form, engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "out", form)
    found = report.fidelity
    assert found is not None
    assert found.rows_from == "held-out"
    assert (found.agreement, found.answers) == (1.0, 8)
    assert 0.0 <= found.kl < 1e-9
    assert found.loss_after == pytest.approx(found.loss_before, abs=1e-6)
    loads = {rule.program: rule.loads for rule in report.loads}
    assert loads == dict.fromkeys(loads, True) if form == "portable" else not loads["llama.cpp"]


def test_a_gguf_file_is_measured_as_it_is_read_back(engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "out", "gguf")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter.gguf", "README.md"}
    (command,) = report.commands
    assert command.program == "llama.cpp"
    out = tmp_path / "out"
    assert command.lines == (
        f"python -m lora_engine export known -o {out} --as gguf --with-base --overwrite",
        f"llama-server -m {out / 'base.gguf'} --lora {out / 'adapter.gguf'}",
    )
    found = report.fidelity
    assert (found.agreement, found.answers, found.rows_from) == (1.0, 8, "held-out")
    assert 0.0 <= found.kl < 1e-9
    assert found.loss_after == pytest.approx(found.loss_before, abs=1e-6)
    assert {rule.program: rule.loads for rule in report.loads} == {
        "llama.cpp": True,
        "Ollama": True,
    }


def test_a_merged_model_as_gguf_is_measured_as_transformers_reads_it(engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "out", "merged-gguf", dtype="float32")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"merged.gguf", "README.md"}
    assert report.path == tmp_path / "out"
    (command,) = report.commands
    assert command.lines == (f"llama-server -m {tmp_path / 'out' / 'merged.gguf'}",)
    found = report.fidelity
    assert (found.agreement, found.answers) == (1.0, 8)
    assert 0.0 <= found.kl < 1e-9
    assert found.loss_after == pytest.approx(found.loss_before, abs=1e-6)


def test_the_base_goes_beside_its_adapter_where_it_is_asked_for(engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "out", "gguf", with_base=True, measure=False)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "adapter.gguf", "base.gguf"]
    (command,) = report.commands
    assert command.lines == (f"llama-server -m {out / 'base.gguf'} --lora {out / 'adapter.gguf'}",)
    with pytest.raises(EngineError, match="merged"):
        engine.exports.export("known", tmp_path / "no", "merged", with_base=True, measure=False)


def test_a_merged_model_is_measured_beside_its_base_and_adapter(engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "exact", "merged", dtype="float32")
    assert (report.adapter, report.loads) == (None, ())
    assert report.commands[0].lines == (f"vllm serve {tmp_path / 'exact'}",)
    exact = report.fidelity
    assert (exact.agreement, exact.answers) == (1.0, 8)
    assert 0.0 <= exact.kl < 1e-9
    assert exact.loss_after == pytest.approx(exact.loss_before, abs=1e-6)

    rounded = engine.exports.export("known", tmp_path / "out", "merged", dtype="bfloat16").fidelity
    assert exact.kl < rounded.kl < 1e-2  # 16 bits cost something, and the meter says so
    assert rounded.loss_before == pytest.approx(exact.loss_before, abs=1e-9)


def test_the_meter_sees_a_scaling_that_was_lost(engine, adapter, tmp_path):
    """What llama.cpp would do with this adapter as it is: alpha over rank, no rsLoRA."""
    report = engine.exports.export("known", tmp_path / "out", "adapter", measure=False)
    config = json.loads((report.path / "adapter_config.json").read_text())
    config["use_rslora"] = False
    (report.path / "adapter_config.json").write_text(json.dumps(config))
    voices = engine.exports.voices("starter", adapter, report)
    found = measure(*voices, adapter, engine.settings)
    assert found.kl > 1e-3
    assert found.loss_after != pytest.approx(found.loss_before, abs=1e-4)


def test_an_export_stays_where_its_base_is_not_here(engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "out", "portable", base="no such base")
    assert report.fidelity is None
    assert "no such base" in report.notes[-1]
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("form", ["portable", "merged"])
def test_the_program_on_the_card_loads_the_export(form, engine, adapter, tmp_path, monkeypatch):
    engine.exports.export("known", tmp_path / "pirate", form, measure=False)
    card = (tmp_path / "pirate" / "README.md").read_text("utf-8")
    program = card.partition("```python\n")[2].partition("```")[0]
    base = resolve_base_model("starter", engine.settings).source
    assert ("'PATH/TO/starter'" in program) == (form == "portable")
    monkeypatch.chdir(tmp_path)
    known: dict = {}
    exec(program.replace("PATH/TO/starter", base), known)
    assert known["output"].shape[1] > known["inputs"]["input_ids"].shape[1]


@pytest.mark.parametrize("form", ["adapter", "portable"])
def test_an_adapters_own_card_is_kept(form, engine, adapter, tmp_path):
    engine.exports.export("known", tmp_path / "mine", "adapter", measure=False)
    assert "starter:json" in (tmp_path / "mine" / "README.md").read_text("utf-8")
    (tmp_path / "mine" / "README.md").write_text("# Mine", "utf-8")
    engine.exports.export(str(tmp_path / "mine"), tmp_path / "out", form, measure=False)
    assert (tmp_path / "out" / "README.md").read_text("utf-8") == "# Mine"


def test_an_output_that_exists_is_refused_and_kept(engine, adapter, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(Conflict, match="out"):
            engine.exports.export(
                "known", tmp_path / "out", "adapter", measure=False, overwrite=overwrite
            )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("form", ["adapter", "portable"])
def test_a_value_that_is_no_number_is_refused_by_its_tensor(form, engine, adapter, tmp_path):
    broken = tmp_path / "broken"
    engine.exports.export("known", broken, "adapter", measure=False)
    tensors = load_file(broken / "adapter_model.safetensors")
    key = sorted(tensors)[0]
    tensors[key][0, 0] = float("nan")
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(EngineError, match=key.replace(".", r"\.")):
        engine.exports.export(str(broken), tmp_path / "out", form, measure=False)
    assert not (tmp_path / "out").exists()


def test_factors_that_overflow_the_model_are_told_and_not_called_equal(engine, adapter, tmp_path):
    broken = tmp_path / "broken"
    engine.exports.export("known", broken, "adapter", measure=False)
    tensors = load_file(broken / "adapter_model.safetensors")
    tensors = {key: torch.full_like(one, 1e30) for key, one in tensors.items()}
    save_file(tensors, broken / "adapter_model.safetensors")
    report = engine.exports.export(str(broken), tmp_path / "out", "portable")
    assert report.fidelity is None
    assert "overflow" in report.notes[-1]
    whole = engine.exports.export("known", tmp_path / "whole", "adapter", measure=False)
    trained, _ = engine.exports.voices("starter", adapter, whole)
    trained.model.add_adapter("overflowing", broken)
    with pytest.raises(EngineError, match="The export gives no finite loss"):
        measure(trained, Voice(trained.model, "overflowing"), adapter, engine.settings)


def test_a_home_folder_is_measured_where_it_was_written(engine, adapter, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    report = engine.exports.export("known", Path("~/out"), "portable", measure=False)
    assert report.path == report.adapter == tmp_path / "out"


def test_the_command_prints_the_contracts_keys(settings, adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    words = ["export", "known", "-o", str(tmp_path / "out"), "--as", "portable", "--json"]
    build()(words, standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["form"]) == (str(tmp_path / "out"), "portable")
    assert {"agreement", "kl", "loss_before", "loss_after"} <= said["fidelity"].keys()
    commands = {one["program"]: one["lines"] for one in said["commands"]}
    base = resolve_base_model("starter", settings).path
    assert commands["vLLM"] == [
        f"vllm serve {base} --enable-lora --lora-modules out={tmp_path / 'out'} --max-lora-rank 8"
    ]


def test_the_command_writes_gguf_and_says_what_it_cannot(settings, adapter, tmp_path):
    run = partial(
        subprocess.run,
        capture_output=True,
        text=True,
        env={**os.environ, "LORA_DATA_DIR": str(settings.data_dir)},
        check=False,
    )
    command = [sys.executable, "-m", "lora_engine", "export", "known", "--no-measure", "--as"]
    done = run([*command, "gguf", "-o", str(tmp_path / "out"), "--json"])
    assert (done.returncode, json.loads(done.stdout)["form"]) == (0, "gguf")
    again = run([*command, "gguf", "-o", str(tmp_path / "out"), "--json"])
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith("error: ")


def test_a_modelfile_names_base_adapter_template_and_stops(engine, adapter, tmp_path):
    report = engine.exports.export("known", tmp_path / "out", "ollama", system="Be brief.")
    text = (tmp_path / "out" / "Modelfile").read_text("utf-8")
    base = resolve_base_model("starter", engine.settings)
    assert text.startswith(f'FROM """{base.path}"""\nADAPTER ./adapter\nTEMPLATE """')
    assert "{{ range .Messages }}" in text
    assert 'PARAMETER stop """<|end|>"""' in text
    assert text.endswith('SYSTEM """Be brief."""\n')
    assert report.adapter == tmp_path / "out" / "adapter"
    assert report.fidelity.agreement == 1.0
    assert [one.lines[0] for one in report.commands] == [
        f"ollama create out -f {tmp_path / 'out' / 'Modelfile'}"
    ]


def test_a_system_text_is_written_into_the_modelfile(
    settings, adapter, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    system = 'Answer "in rhyme".'
    words = ["export", "known", "-o", str(tmp_path / "out"), "--as", "ollama", "--no-measure"]
    build()([*words, "--system", system], standalone_mode=False)
    text = (tmp_path / "out" / "Modelfile").read_text("utf-8")
    assert text.endswith(f'SYSTEM """{system}"""\n')
    with pytest.raises(EngineError, match="portable"):
        build()([*words[:-2], "portable", "--overwrite", "--system", system], standalone_mode=False)


def test_a_base_that_ollamas_adapters_do_not_know_is_refused(engine, tmp_path):
    base = save_base(tmp_path / "qwen2", "qwen2")
    source = save_adapter(tmp_path / "source", base)
    with pytest.raises(EngineError, match="qwen2"):
        engine.exports.export(
            str(source), tmp_path / "out", "ollama", base=str(base.path), measure=False
        )
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_the_adapter_s_is_refused_before_anything_is_written(
    engine, adapter, tiny_llama, tmp_path
):
    other = str(tiny_llama)
    for form in ("adapter", "portable"):
        with pytest.raises(EngineError):
            engine.exports.export("known", tmp_path / "out", form, base=other, measure=False)
    assert not (tmp_path / "out").exists()
