"""The commands that serve an export, typed into a real shell whose programs write what they got."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lora_engine.base_models import BaseModel
from lora_engine.errors import EngineError
from lora_engine.export.commands import (
    Served,
    adapter_commands,
    largest_rank,
    merged_commands,
    vllm_command,
)
from lora_engine.export.load_rules import where_it_loads
from tests.operated_adapters import save_adapter, save_form

PROGRAMS = ("vllm", "python", "llama-server", "ollama", "text-generation-launcher")
SIGNS = 'it\'s a $HOME; `x` "y"'


@pytest.fixture
def typed(tmp_path: Path):
    """Runs lines in a shell. Returns the words each program was given, LORA_ADAPTERS last."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    for program in PROGRAMS:
        script = (
            f"#!{sys.executable} -IS\nimport json, os, sys\n"
            "words = [os.path.basename(sys.argv[0]), *sys.argv[1:], "
            "*filter(None, [os.environ.get('LORA_ADAPTERS')])]\n"
            f"open({str(log)!r}, 'a').write(json.dumps(words) + '\\n')\n"
        )
        (folder / program).write_text(script)
        (folder / program).chmod(stat.S_IRWXU)

    def run(lines):
        log.unlink(missing_ok=True)
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "LLAMA_CPP_DIR": "/the llama.cpp"}
        subprocess.run(["sh", "-e", "-c", "\n".join(lines)], env=environment, check=True)
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def served(adapter: Path, base: Path | str = "org/base") -> Served:
    model = BaseModel("it", base) if isinstance(base, Path) else BaseModel(base, None)
    return Served("my adapter", adapter, largest_rank(adapter), model)


def commands_of(adapter: Path, base: Path | str = "org/base", form="adapter"):
    rules = where_it_loads(adapter, "llama")
    return {one.program: one for one in adapter_commands(served(adapter, base), form, rules)}


def test_a_portable_adapter_is_served_by_each_program(tmp_path, typed):
    base, adapter = tmp_path / f"base {SIGNS}", save_adapter(tmp_path / SIGNS, lora_alpha=6)
    found = commands_of(adapter, base, "portable")
    name = "it-s-a-HOME-x-y"
    assert {program: one.note for program, one in found.items()} == dict.fromkeys(found, "")
    assert typed(found["vLLM"].lines) == [
        ["vllm", "serve", str(base), "--enable-lora", "--lora-modules", f"{name}={adapter}",
         "--max-lora-rank", "8"],
    ]  # fmt: skip
    assert typed(found["TGI"].lines) == [
        ["text-generation-launcher", "--model-id", str(base), f"{name}={adapter}"]
    ]
    assert typed(found["llama.cpp"].lines) == [
        ["python", "/the llama.cpp/convert_hf_to_gguf.py", str(base),
         "--outfile", f"{name}-base.gguf"],
        ["python", "/the llama.cpp/convert_lora_to_gguf.py", str(adapter),
         "--base", str(base), "--outfile", f"{name}.gguf"],
        ["llama-server", "-m", f"{name}-base.gguf", "--lora", f"{name}.gguf"],
    ]  # fmt: skip
    modelfile = f"{adapter}-ollama"
    assert typed(found["Ollama"].lines) == [
        ["python", "-m", "lora_engine", "export", "my adapter", "-o", modelfile, "--as", "ollama"],
        ["ollama", "create", f"{name}--ollama", "-f", f"{modelfile}/Modelfile"],
        ["ollama", "run", f"{name}--ollama"],
    ]


def test_where_the_adapter_as_it_is_would_be_scaled_wrongly_the_portable_one_is_served(
    tmp_path, typed
):
    adapter = save_form("patterns", tmp_path / "it", r=6, rank_pattern={"v_proj": 20})
    found = commands_of(adapter)
    assert "rank_pattern" in found["vLLM"].note
    export, serve = typed(found["vLLM"].lines)
    assert export[3:] == ["export", "my adapter", "-o", f"{adapter}-portable", "--as", "portable"]
    assert serve[-3:] == [f"it-portable={adapter}-portable", "--max-lora-rank", "32"]
    assert typed(found["llama.cpp"].lines)[2][2] == f"{adapter}-portable"


def test_where_no_adapter_loads_the_merged_model_is_served(tmp_path, typed):
    found = commands_of(save_form("whole modules", tmp_path / "it"))
    merged = f"{tmp_path / 'it'}-merged"
    export, serve = typed(found["vLLM"].lines)
    assert export[-3:] == [merged, "--as", "merged"]
    assert serve == ["vllm", "serve", merged]
    assert found["Ollama"].lines == ()
    assert "modules saved whole" in found["Ollama"].note


def test_a_base_of_the_hub_goes_by_its_id(tmp_path, typed):
    found = commands_of(save_adapter(tmp_path / "it"))
    assert typed(found["vLLM"].lines)[0][2] == "org/base"
    model, adapter, _ = typed(found["llama.cpp"].lines)
    assert model[2:4] == ["--remote", "org/base"]
    assert adapter[3:5] == ["--base-model-id", "org/base"]


def test_a_path_that_vllm_would_take_apart_is_given_as_json(typed):
    paths = {"plain": Path("/a/b"), "odd": Path("/a=b, c")}
    (words,) = typed([vllm_command("/base", paths, 300)])
    assert words[5] == "plain=/a/b"
    assert json.loads(words[6]) == {"name": "odd", "path": "/a=b, c"}
    assert words[-1] == "320"


def test_a_path_that_tgi_would_take_apart_has_no_command(tmp_path):
    found = commands_of(save_adapter(tmp_path / "a, b"))
    assert found["TGI"].lines == ()
    assert "commas" in found["TGI"].note


def test_a_rank_that_vllm_does_not_take_has_no_command():
    with pytest.raises(EngineError, match="513"):
        vllm_command("/base", {"a": Path("/a")}, 513)


def test_a_modelfile_is_served_by_ollama_alone(tmp_path):
    adapter = save_adapter(tmp_path / "it")
    (command,) = adapter_commands(served(adapter), "ollama", where_it_loads(adapter))
    assert shlex.split(command.lines[0]) == [
        "ollama", "create", "it", "-f", str(adapter / "Modelfile")
    ]  # fmt: skip


def test_a_merged_model_is_served_as_any_model(tmp_path, typed):
    found = {one.program: typed(one.lines) for one in merged_commands(tmp_path / "a model")}
    assert found["vLLM"] == [["vllm", "serve", str(tmp_path / "a model")]]
    assert found["TGI"][0][-1] == str(tmp_path / "a model")
    assert found["llama.cpp"][-1] == ["llama-server", "-m", "a-model.gguf"]
