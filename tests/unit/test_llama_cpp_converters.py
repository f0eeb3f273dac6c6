"""How llama.cpp's converters are called, ended and believed; stand-in scripts take their place."""

from __future__ import annotations

import json
import os
import time

import pytest

from lora_engine.base_models import BaseModel
from lora_engine.cancellation import Stopped, StopSignal
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError
from lora_engine.export import llama_cpp
from lora_engine.export.gguf_adapter import ADAPTER_FILE
from lora_engine.export.gguf_export import write_gguf
from lora_engine.settings import Settings
from tests.operated_adapters import save_adapter

pytestmark = pytest.mark.filterwarnings("ignore")
TELLS = """
import json, os, pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
config = json.loads((pathlib.Path(sys.argv[-1]) / "adapter_config.json").read_text())
told = {"arguments": sys.argv[1:], "config": config, "environment": dict(os.environ)}
pathlib.Path(given["--outfile"]).write_text(json.dumps(told))
"""
FAILS = """
import sys
print("x" * 5000)
print("loading", file=sys.stderr)
sys.exit("ERROR: BPE pre-tokenizer was not recognized")
"""
HANGS = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(__file__).with_name("pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_adapter(tmp_path_factory.mktemp("adapters") / "source", use_rslora=True)


@pytest.fixture
def export(source, tmp_path):
    """Export with a converter of this text; the base is of a kind that only it knows."""
    base = BaseModel("tiny", tmp_path / "base")
    base.path.mkdir()
    (base.path / "config.json").write_text(json.dumps({"model_type": "of their own"}))

    def run(script, stop=None):
        folder = tmp_path / "llama.cpp"
        folder.mkdir()
        if script:
            (folder / llama_cpp.CONVERT_ADAPTER).write_text(script)
        settings = Settings(data_dir=tmp_path, llama_cpp_dir=folder)
        more = {} if stop is None else {"stop": stop}
        return write_gguf(source, tmp_path / "out", base, settings, **more)

    return run


def test_the_converter_gets_the_portable_adapter_and_the_base(export, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    report = export(TELLS)
    told = json.loads(report.path.read_text())
    out, kind, base = (told["arguments"][i] for i in (1, 3, 5))
    assert (out.endswith(f"/{ADAPTER_FILE}"), kind) == (True, "f32")
    assert base == str(tmp_path / "base")
    assert told["config"]["r"] == told["config"]["lora_alpha"] == 6
    assert not told["config"]["use_rslora"]  # lora_alpha alone would lose it
    assert "HF_TOKEN" not in told["environment"]
    assert told["environment"]["HF_HUB_OFFLINE"] == "1"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [ADAPTER_FILE]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (FAILS, "BPE pre-tokenizer was not recognized"),
        ("", "there is no convert_lora_to_gguf.py"),
        ("pass", "wrote no adapter.gguf"),
    ],
)
def test_a_converter_that_does_not_work_is_told_and_leaves_nothing(export, tmp_path, script, said):
    with pytest.raises(EngineError, match=said) as failed:
        export(script)
    assert len(failed.value.problem) < llama_cpp.TAIL_BYTES + 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "llama.cpp"]


def test_a_converter_that_takes_too_long_is_ended_with_its_children(export, tmp_path, monkeypatch):
    monkeypatch.setattr(llama_cpp, "LIMIT_S", 3.0)
    with pytest.raises(EngineError, match="took over 3 s"):
        export(HANGS)
    assert_gone(tmp_path)


def test_stop_ends_the_converter(export, tmp_path):
    class StopOnceItRuns(StopSignal):
        def is_set(self):
            return (tmp_path / "llama.cpp" / "pids").exists()

    with pytest.raises(Stopped):
        export(HANGS, stop=StopOnceItRuns())
    assert_gone(tmp_path)


def assert_gone(tmp_path):
    assert not (tmp_path / "out").exists()
    for pid in (tmp_path / "llama.cpp" / "pids").read_text().split():
        until = time.monotonic() + 30
        while is_running(pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_running(pid)


def is_running(pid):
    try:
        os.kill(int(pid), 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_folder_comes_from_the_environment(tmp_path):
    assert load_settings({}).llama_cpp_dir is None
    assert load_settings({"LLAMA_CPP_DIR": str(tmp_path)}).llama_cpp_dir == tmp_path
