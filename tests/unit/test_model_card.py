"""The model card: what the hub reads of it, what it tells, and what it keeps to itself."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import ModelCard

from lora_engine.export.model_card import model_card, readme_of
from lora_engine.export.public_names import HIDDEN, public_document, public_name, public_text
from tests.operated_adapters import save_adapter

SECRET = "hf_abcdefghijklmnop"
SPEC = {
    "name": "it",
    "base_model": "/home/ann/models/my llama",
    "task": "causal_lm",
    "dataset": {"source": "/home/ann/data/private rows.jsonl", "eval_fraction": 0.1},
    "method": {"rank": 6, "init_from": "/home/ann/runs/r0/adapter"},
    "optimization": {"learning_rate": 2e-4, "epochs": 3.0},
    "quantization": {"bits": 4, "type": "nf4", "double": True},
    "report": {"sample_prompts": [f"my secret prompt {SECRET}"], "report_to": ["wandb"]},
    "seed": 7,
}
PROVENANCE = {
    "run": "r1",
    "spec": SPEC,
    "base_model": "/home/ann/models/my llama",
    "base_fingerprint": "f00d",
    "data_hash": "da7a",
    "chat_template": "chatml",
    "versions": {"python": "3.11", "peft": "0.21.2"},
    "operation": {
        "kind": "resize",
        "sources": [{"name": "/home/ann/runs/r1/adapter", "sha256": "ab"}],
        "log": f"/home/ann/x.log {SECRET}",
    },
}
RESULT = {
    "state": "finished", "steps": 120, "train_loss": 0.9, "eval_loss": 1.25, "tokens": 34567,
    "tokens_per_s": 1.0, "peak_memory_bytes": 1, "elapsed_s": 1.0, "best_eval_loss": 1.125,
    "best_step": 80, "saved_step": 80,
}  # fmt: skip


def adapter_of(folder, provenance=PROVENANCE, result=RESULT, **settings):
    """An adapter where a run leaves it."""
    adapter = save_adapter(folder / "adapter", **settings)
    (adapter / "README.md").unlink(missing_ok=True)
    (adapter / "provenance.json").write_text(json.dumps(provenance), "utf-8")
    (folder / "result.json").write_text(json.dumps(result), "utf-8")
    return adapter


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return adapter_of(tmp_path_factory.mktemp("runs") / "r1", use_rslora=True)


def rows_of(card: str) -> dict[str, str]:
    """The cells of all its tables."""
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {cells[0].strip("`"): cells[1].strip("`") for cells in lines if len(cells) == 2}


@pytest.mark.parametrize("form", ["adapter", "portable", "merged", "gguf", "merged-gguf"])
def test_no_path_and_no_secret_is_told(adapter, settings, form):
    card = model_card(adapter, "pirate", form, settings)
    for untold in ("/home", "ann", "hf_", "secret prompt", "wandb", str(adapter.parent.parent)):
        assert untold not in card
    assert rows_of(card)["Base"] == "my llama"
    assert rows_of(card)["Data"] == "private rows.jsonl"
    assert "license" not in ModelCard(card).data.to_dict()


def test_what_was_trained_and_measured_is_told(adapter, settings):
    rows = rows_of(model_card(adapter, "pirate", "adapter", settings))
    told = {
        "Rank": "6", "Alpha": "9", "Variant": "rsLoRA", "Learning rate": "0.0002", "Seed": "7",
        "Target modules": "down_proj, q_proj, v_proj", "Quantized base": "4-bit (nf4)",
        "Base's fingerprint": "f00d", "Hash of the rows": "da7a", "Chat template": "chatml",
        "Held-out loss": "1.1250",
        "Training loss": "0.9000", "Steps trained": "80", "Epochs": "3.0", "Tokens": "34,567",
        "peft": "0.21.2",
    }  # fmt: skip
    assert {name: rows.get(name) for name in told} == told
    card = model_card(adapter, "pirate", "adapter", settings)
    assert "`resize` of `r1`" in card
    spec = json.loads(card.partition("```json\n")[2].partition("```")[0])
    assert spec["method"]["init_from"] == "r0"
    assert spec["optimization"] == SPEC["optimization"]
    assert "report" not in spec


def test_the_hub_reads_its_metadata(adapter, tmp_path, settings):
    data = ModelCard(model_card(adapter, "me/pirate", "adapter", settings)).data.to_dict()
    assert data == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "rslora", "rankscope"],
    }
    dataset = {"source": "org/rows", "mixture": [{"source": "org/more"}, {"source": "rows.jsonl"}]}
    cached = "/root/.cache/huggingface/hub/models--org--base/snapshots/0123"
    known = adapter_of(
        tmp_path / "r2",
        {"base_model": cached, "spec": {"dataset": dataset}},
    )
    data = ModelCard(model_card(known, "me/pirate", "merged", settings)).data.to_dict()
    assert (data["base_model"], data["base_model_relation"]) == ("org/base", "finetune")
    assert data["datasets"] == ["org/rows", "org/more"]
    assert data["library_name"] == "transformers"


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("gguf", "llama-server -m BASE.gguf --lora adapter.gguf"),
        ("merged-gguf", "llama-server -m merged.gguf"),
    ],
)
def test_a_gguf_file_is_for_llama_cpp(adapter, settings, form, line):
    card = ModelCard(model_card(adapter, "me/pirate", form, settings))
    assert card.data.library_name == "gguf"
    assert {"gguf", "llama-cpp"} <= set(card.data.tags)
    assert line in card.text.splitlines()


def test_a_folder_that_is_called_like_a_hub_id_is_not_told_to_be_one(tmp_path, settings):
    from tests.tiny import save_tiny_model

    save_tiny_model(settings.models_dir / "my" / "llama")
    adapter = adapter_of(tmp_path / "r1", {"base_model": "my/llama"})
    assert ModelCard(model_card(adapter, "x", "adapter", settings)).data.base_model is None
    named = ModelCard(model_card(adapter, "x", "adapter", settings, "org/base")).data
    assert named.base_model == "org/base"


def test_a_name_is_no_markup_and_no_table_cell(tmp_path, settings):
    name = "a | b <img src=x> `c` # d"
    provenance = {"spec": {**SPEC, "name": name}, "base_model": name}
    adapter = adapter_of(tmp_path / "r1", provenance, target_modules=r".*layers.*(q|v)_proj")
    card = model_card(adapter, name, "adapter", settings)
    assert r"a \| b <img src=x> 'c' # d" in rows_of(card)["Base"]
    assert rows_of(card)["Target modules"] == r".*layers.*(q\|v)_proj"
    assert card.splitlines()[8] == "# `a | b <img src=x> 'c' # d`"


def test_an_adapter_that_says_nothing_has_a_card(tmp_path, settings):
    adapter = save_adapter(tmp_path / "bare")
    card = model_card(adapter, "bare", "portable", settings)
    assert rows_of(card)["Rank"] == "6"
    assert "## Results" not in card


def test_pefts_unfilled_card_is_no_card(tmp_path):
    adapter = save_adapter(tmp_path / "it")
    assert (adapter / "README.md").is_file()  # PEFT writes it
    assert readme_of(adapter) == ""
    (adapter / "README.md").write_text("# Mine")
    assert readme_of(adapter) == "# Mine"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("org/name", "org/name"),
        ("starter:pirate", "starter:pirate"),
        ("/root/my model", "my model"),
        ("~/rows.json", "rows.json"),
        (r"C:\Users\ann\rows.json", "rows.json"),
        ("/data/runs/r1/model", "r1"),
        ("/root/.cache/huggingface/hub/models--o--n/snapshots/1", "o/n"),
        ("/", HIDDEN),
    ],
)
def test_a_path_becomes_its_name(name, told):
    assert public_name(name) == told


@pytest.mark.parametrize(
    "kept",
    [
        "a/b",
        "1/2 of it",
        "https://hub.co/org/name",
        "[/INST]",
        "</s>",
        r"\d+\.q_proj",
        "7 and/or 8",
    ],
)
def test_a_text_without_a_path_is_kept(kept):
    assert public_text(kept) == kept


def test_a_document_is_cleaned_in_depth():
    found = public_document({"a": [{"/home/ann/x": f"see /home/ann/y: {SECRET}"}], "n": 1})
    assert found == {"a": [{"x": f"see y: {HIDDEN}"}], "n": 1}
