"""Whole runs of the methods that are not LoRA: resumed exactly, listed as what they are, refused
where factors are needed."""

from __future__ import annotations

import itertools
import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.adapter_operations import ToRank, WeightedAdapter
from lora_engine.adapters import AdapterLibrary, check_adapter
from lora_engine.base_models import resolve_base_model
from lora_engine.engine import Engine
from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory
from lora_engine.spectrum import read_adapter
from tests.training_runs import losses, tiny_spec, train_here

# By method: its fields, the numbers that are saved and the words for its size. The tiny Llama has 2
# layers of width 64, keys of 32, an MLP of 128, and 7 linear layers a layer.
METHODS = {
    "prefix": ({"virtual_tokens": 5}, 5 * 2 * 2 * 32, "prefix tuning, 5 virtual tokens"),
    "prompt": (
        {"virtual_tokens": 5, "prompt_text": "Grass."}, 5 * 64, "prompt tuning, 5 virtual tokens"),
    "p_tuning": ({"virtual_tokens": 5, "encoder_size": 16}, 5 * 64, "P-tuning, 5 virtual tokens"),
    "ia3": ({}, 2 * (32 + 32 + 128), "IA³"),
    "bottleneck": ({"bottleneck_size": 8}, 4 * (2 * 8 * 64 + 64 + 8), "bottleneck 8"),
    "vera": ({"rank": 6, "dropout": 0.1},
        2 * (7 * 6 + 64 + 32 + 32 + 64 + 128 + 128 + 64), "VeRA, rank 6"),
    "loha": ({"rank": 3},
        2 * 2 * 3 * (128 + 96 + 96 + 128 + 192 + 192 + 192), "LoHa, rank 3"),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Settings whose runs folder all runs of this module are in, and their rows."""
    from lora_engine.settings import Settings

    root = tmp_path_factory.mktemp("home")
    rows = [
        {"prompt": f"What colour is thing {n}?", "completion": "Blue." if n % 2 else "Grass."}
        for n in range(40)
    ]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    settings = Settings(data_dir=root / "data", models_dir=root / "models", device="cpu")
    settings.runs_dir.mkdir(parents=True)
    return settings, root / "rows.jsonl"


@pytest.fixture(scope="module")
def finished(home, tiny_llama):
    """A run of eight steps by its method, as the worker leaves it."""
    settings, rows = home
    done: dict[str, RunDirectory] = {}

    def run(kind: str) -> RunDirectory:
        if kind not in done:
            spec = spec_of(kind, tiny_llama, rows)
            directory, _ = train_here(spec, settings.runs_dir / kind.replace("_", "-"), settings)
            (directory.path / "result.json").write_text('{"state": "finished", "eval_loss": 1.0}')
            done[kind] = directory
        return done[kind]

    return run


def spec_of(kind, base, rows):
    method = {"finetuning_type": kind, **METHODS[kind][0]}
    return tiny_spec(base, rows, name=f"by {kind}", method=method)


@pytest.mark.parametrize("kind", METHODS)
def test_a_stopped_run_goes_on_exactly(finished, home, tiny_llama, tmp_path, kind):
    settings, rows = home
    whole, spec = finished(kind), spec_of(kind, tiny_llama, rows)
    steps = itertools.count(1)
    stop = lambda: next(steps) > 5  # noqa: E731
    broken, progress = train_here(spec, tmp_path / "run", settings, should_stop=stop)
    assert progress.step == 5
    _, progress = train_here(spec, tmp_path / "run", settings, resume=True)
    assert (progress.step, progress.saved_as) == (8, "adapter")
    assert losses(broken) == losses(whole)
    first, second = (
        load_file(d.adapter_path / "adapter_model.safetensors") for d in (broken, whole)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", METHODS)
def test_it_is_listed_as_what_it_is(finished, home, kind):
    settings, _ = home
    directory, (_, numbers, size) = finished(kind), METHODS[kind]
    library = AdapterLibrary(settings)
    (summary,) = [one for one in library.list() if one.path == directory.adapter_path]
    assert (summary.kind, summary.size, summary.name) == (kind, size, f"by {kind}")
    assert summary not in library.of_lora()
    found = library.details(str(directory.adapter_path))
    assert found.parameters == numbers
    assert [(check.name, check.ok) for check in found.checks] == [
        ("whole", True), ("finite", True), ("right base", True)]  # fmt: skip
    assert sum(part.parameters for part in found.parts) == numbers
    assert all(part.norm for part in found.parts)  # every module has moved


@pytest.mark.parametrize("kind", METHODS)
def test_its_folder_says_where_it_comes_from_and_loads(finished, tiny_llama, kind):
    folder = finished(kind).adapter_path
    provenance = json.loads((folder / "provenance.json").read_text("utf-8"))
    assert provenance["spec"]["method"]["finetuning_type"] == kind
    assert provenance["base_fingerprint"]
    assert not (folder / "README.md").exists()
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    if kind == "bottleneck":
        with pytest.raises(KeyError, match="RANKSCOPE_BOTTLENECK"):
            peft.PeftModel.from_pretrained(base, folder)
    else:
        assert peft.PeftModel.from_pretrained(base, folder).active_peft_config.inference_mode


@pytest.mark.parametrize("kind", METHODS)
def test_what_needs_factors_refuses_it_by_its_name(finished, home, tiny_llama, tmp_path, kind):
    settings, _ = home
    folder = finished(kind).adapter_path
    base = resolve_base_model(str(tiny_llama), settings)
    named = json.loads((folder / "adapter_config.json").read_text("utf-8"))["peft_type"]
    engine, out = Engine(settings), tmp_path / "out"
    operations, weighted = engine.adapter_operations, WeightedAdapter(folder, 1.0)
    uses = {
        "spectrum": lambda: read_adapter(folder),
        "lora's check": lambda: check_adapter(folder, base),
        "merge": lambda: operations.merge(folder, out),
        "resize": lambda: operations.resize(folder, out, ToRank(2)),
        "combine": lambda: operations.combine([weighted, weighted], out),
        "export": lambda: engine.exports.export(folder, out, "adapter"),
        "where it loads": lambda: engine.exports.where_it_loads(folder),
        "proposals": lambda: engine.advisor.propose_ranks(str(folder), 4),
        "going on": lambda: engine.runs.submit(
            tiny_spec(tiny_llama, home[1], method={"init_from": str(folder)})
        ),
    }
    for name, use in uses.items():
        with pytest.raises(EngineError, match=named) as caught:
            use()
        assert "Compare answers with it" in caught.value.remedy, name
    assert not out.exists()


def test_the_command_line_shows_its_tensors(finished, home, monkeypatch):
    settings, _ = home
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    folder = str(finished("ia3").adapter_path)
    shown = CliRunner().invoke(build(), ["show-adapter", folder, "--json"])
    document = json.loads(shown.stdout)
    assert (document["kind"], document["rank"], len(document["modules"])) == ("ia3", None, 6)
    by_name = {module["name"]: module["tensors"] for module in document["modules"]}
    assert by_name["model.layers.0.mlp.down_proj"] == {"ia3_l": [1, 128]}
    table = CliRunner().invoke(build(), ["show-adapter", folder]).stdout
    assert "ia3_l 1 x 128" in table
