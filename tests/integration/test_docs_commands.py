"""Every command that the documentation shows is run as it stands there, page by page.

A page's commands run in their order in one data folder with a finished run, in this process. What
stands for something of the reader's (RUN_ID, DIR, OUT) is put in; what is optional ([--json]) is
given. No worker starts: runs wait in the queue, and `train` trains here. What another page runs
with the same options and more is only parsed, and so are a few others, each with its reason.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.main import get_command

from lora_engine.__main__ import build, main
from lora_engine.engine import Engine
from lora_engine.run_folder import RunDirectory
from lora_engine.runs import supervisor
from lora_engine.runs.states import RunState
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec, spec_from
from lora_engine.starter import MODEL_DIR
from lora_engine.training.loop import TrainingProgress
from lora_engine.training.preparation import prepare
from lora_engine.training.train_run import train_prepared
from tests.judged_runs import add_run, result
from tests.training_runs import train_here

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:python -m lora_engine|rankscope) .*?(?=  +(?:python|rankscope) |$)")
ONLY_PARSED = {
    "serve ": "serves until it is stopped: test_serve.py",
    "preview org/name": "asks the hub: test_hub_sets.py",
    "--push": "asks the hub: test_export_push.py",
    "--wait": "trains a whole sweep: test_sweeps_trained.py",
    "judge ": "needs a trained sweep: test_sweeps_trained.py",
    "--requantized": "measures for seconds: test_export_requantized.py",
    "--as merged": "measures for seconds: test_export.py",
    "--with-base": "measures for seconds: test_export.py",
    "--rows ": "measures for seconds: test_merge_commands.py",
}
FEW_STEPS = {"optimization": {"max_steps": 3, "batch_size": 8}, "report": {"samples": 0}}
SPECS = {
    "text": {"name": "pirate r8", **FEW_STEPS},
    "classes": {
        "name": "entities", "base_model": "starter-encoder", "task": "token_classification",
        "dataset": {"source": "starter:entities"}, **FEW_STEPS,
    },
}  # fmt: skip


def commands_of(page: Path) -> list[str]:
    """What a page's blocks run of the command line, in their order."""
    return [
        re.sub(r"^(python -m lora_engine|rankscope) ", "", found)
        for _, block in BLOCK.findall(page.read_text("utf-8"))
        for line in block.splitlines()
        for found in COMMAND.findall(line)
    ]


def options_of(command: str) -> frozenset[str]:
    """What a command is told to do: its own name first, its options, and its choices by word."""
    words = shlex.split(command, comments=True)
    chosen = (
        word.strip("[]")
        for before, word in pairwise(words)
        if before not in ("-o", "--base") and re.fullmatch(r"\[?--?[a-z-]+\]?|[a-z]+", word)
    )
    return frozenset([f"command {words[0]}", *chosen])


@cache
def only_parsed() -> set[tuple[Path, str]]:
    """The commands that are listed so, and those of which another says all and more."""
    shown = [(page, command) for page in PAGES for command in commands_of(page)]
    listed = {one for one in shown if any(part in f"{one[1]} " for part in ONLY_PARSED)}
    running = [(one, options_of(one[1])) for one in shown if one not in listed]
    repeated = {
        one
        for place, (one, options) in enumerate(running)
        for other, (_, more) in enumerate(running)
        if options < more or (other < place and options == more)
    }
    return listed | repeated


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a run of three steps of a kind, trained when it is first asked for."""

    @cache
    def train(kind: str) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        settings = Settings(data_dir=folder, models_dir=folder / "models", device="cpu")
        return train_here(spec_from(SPECS[kind]), folder / kind, settings)[0].path

    return train


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    """The starter with one weight changed."""
    folder = shutil.copytree(MODEL_DIR, tmp_path_factory.mktemp("models") / "tuned")
    tensors = load_file(folder / "model.safetensors")
    weight = tensors["model.layers.0.self_attn.q_proj.weight"]
    weight += 0.01 * weight[:, :1] @ weight[:1]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Reader:
    """Somebody who types a page's commands: a data folder with runs, and files beside them."""

    def __init__(self, folder: Path, settings: Settings, trained: Path, tuned: Path) -> None:
        self._folder = folder
        self._settings = settings
        self._trained = trained
        self._tuned = tuned
        self._made = 0
        spec = (trained / "spec.json").read_text("utf-8")
        rows = "\n".join(
            json.dumps({"prompt": f"How many are {n}?", "completion": f"There are {n}."})
            for n in range(20)
        )
        files = {
            **dict.fromkeys(("spec.json", "SPEC.json", "run.json"), spec),
            **dict.fromkeys(("rows.jsonl", "held.jsonl"), rows),
            "questions.csv": "prompt,expected\nHello!,Ahoy\n",
        }
        for name, content in files.items():
            (folder / name).write_text(content, "utf-8")

    def words(self, command: str) -> list[str]:
        """The command's words with what stands for something of the reader's put in."""
        text = re.sub(r"\[(--[^]|]+)(?:\|[^]]*)?\]", r"\1", command)
        text = text.replace("--base DIR", f"--base {MODEL_DIR}")
        text = text.replace("--tuned DIR", f"--tuned {self._tuned}")
        words = shlex.split(text, comments=True)
        asks = words[0] == "delete-adapter" or words[-1] == "delete"
        return [self._put_in(word, words) for word in words] + ["--yes"] * asks

    def _put_in(self, word: str, words: list[str]) -> str:
        name, colon, weight = word.partition(":")
        if name in ("RUN_ID", "OTHER_ID", "RUN", "ADAPTER", "A", "B"):
            return self.run(RunState.FINISHED) + colon + weight
        if word == "ID":
            return self._known_id(words)
        if word == "OUT":
            self._made += 1
            return f"out-{self._made}"
        return word

    def _known_id(self, words: list[str]) -> str:
        """The id of something that this command can be given."""
        if words[0] == "sweeps":
            return Engine(self._settings).sweeps.list()[0].id
        waiting = words[0] in ("pause", "cancel", "queue")
        resumable = words[0] == "resume"
        state = RunState.QUEUED if waiting else RunState.FINISHED
        return self.run(RunState.PAUSED if resumable else state)

    def run(self, state: RunState, name: str | None = None) -> str:
        """A new run in this state, called as its id where it needs no name; its id."""
        self._made += 1
        run_id = f"run-{self._made}"
        directory = RunDirectory(self._settings.runs_dir / run_id)
        shutil.copytree(self._trained, directory.path)
        spec = {**json.loads(directory.spec_path.read_text("utf-8")), "name": name or run_id}
        directory.spec_path.write_text(json.dumps(spec), "utf-8")
        provenance = directory.adapter_path / "provenance.json"
        document = {**json.loads(provenance.read_text("utf-8")), "run": run_id, "spec": spec}
        provenance.write_text(json.dumps(document), "utf-8")
        if state is RunState.FINISHED:
            directory.write_result(result(steps=FEW_STEPS["optimization"]["max_steps"]))
        add_run(self._settings, run_id, directory.spec(), state)
        return run_id


def train_at_once(runs, settings, resume, device, stop_worse=False) -> subprocess.Popen:
    """`launch`, without a process that imports torch again."""
    for held in runs:
        train_prepared(prepare(held.directory, settings), resume, TrainingProgress(), lambda: False)
        held.directory.write_result(result(steps=3))
        held.lock.close()
    return subprocess.Popen(["true"])


@pytest.fixture
def type_command(settings, tmp_path, monkeypatch, capsys):
    """Runs the words as a command in an empty folder; what it said if it failed, else None."""
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("LORA_DEVICE", "cpu")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lora_engine.runs.launchers.local.launch", train_at_once)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # `train` would take pytest's own

    def type_it(words: list[str]) -> str | None:
        devices = ["cpu"] if words[0] == "train" else []
        monkeypatch.setattr(supervisor, "list_devices", lambda _settings: devices)
        monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
        monkeypatch.setattr("sys.argv", ["lora_engine", *words])
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return None if not code and said.out.strip() else f"exit {code}: {said.out}{said.err}"

    return type_it


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands_of(page)], ids=lambda p: p.stem
)
def test_a_pages_commands_run(page, type_command, tmp_path, settings, trained, tuned):
    run = trained("classes" if page.stem == "classifiers" else "text")
    reader = Reader(tmp_path, settings, run, tuned)
    prepare_page(page, reader, tmp_path, run)
    failed, parsed = {}, only_parsed()
    for command in commands_of(page):
        words = reader.words(command)
        if (page, command) in parsed:
            with get_command(build()).make_context("lora_engine", list(words)) as context:
                name, subcommand, rest = context.command.resolve_command(context, words)
                subcommand.make_context(name, rest, parent=context).close()
        elif said := type_command(words):
            failed[command] = said
    assert failed == {}


def prepare_page(page: Path, reader: Reader, folder: Path, trained: Path) -> None:
    """What a page's reader has before its commands: adapters by the names that it uses."""
    if page.stem == "adapters":
        (folder / "downloads").mkdir()
        shutil.make_archive(str(folder / "downloads" / "pirate"), "zip", trained / "adapter")
        reader.run(RunState.FINISHED, "pirate r8")
    elif page.stem == "combine":
        reader.run(RunState.FINISHED, "pirate")
        reader.run(RunState.FINISHED, "json")
    elif page.stem == "export":
        reader.run(RunState.FINISHED, "pirate r8")


def specs_of(page: Path) -> list[dict]:
    """The JSON documents of a page's blocks that stand alone in their block."""
    found = []
    for _, block in BLOCK.findall(page.read_text("utf-8")):
        with contextlib.suppress(ValueError):
            found.append(json.loads(block))
    return [one for one in found if {"dataset", "objective", "method"} & set(one)]


@pytest.mark.parametrize("page", [page for page in PAGES if specs_of(page)], ids=lambda p: p.stem)
def test_a_pages_specs_are_specs(page):
    assert all(isinstance(spec_from(one), RunSpec) for one in specs_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_pages_python_names_what_there_is(page):
    for language, block in BLOCK.findall(page.read_text("utf-8")):
        if language == "python":
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("lora_engine"):
                    module = importlib.import_module(node.module)
                    assert [a.name for a in node.names if not hasattr(module, a.name)] == []
