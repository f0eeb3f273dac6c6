# ruff: noqa: F811
"""Merging and extracting from the command line: what is said, and that a refusal leaves nothing."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from lora_engine.base_models import list_base_models
from lora_engine.starter import MODEL_DIR
from tests.adapter_forms import changed
from tests.integration.test_combine_on_rows import adapters, command, saved, settings  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")
WEIGHTS = "model.safetensors"


@pytest.fixture
def tuned(tmp_path):
    """The starter with one weight changed by a product of rank 1."""
    folder = shutil.copytree(MODEL_DIR, tmp_path / "tuned")
    tensors = load_file(folder / WEIGHTS)
    weight = tensors["model.layers.0.self_attn.q_proj.weight"]
    weight += 0.01 * weight[:, :1] @ weight[:1]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def everything_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "runs" not in path.name}


def test_merge_says_what_the_contract_names_and_is_listed_as_a_base(adapters, command, settings):
    output = settings.models_dir / "mine"
    code, out, _ = command("merge", "one", "--base", "starter", "-o", output, "--json")
    document = json.loads(out)
    assert code == 0
    assert 0 < document["max_logit_difference"] < 1
    assert document["base_fingerprint"]
    assert document["rows_from"] == "held-out"
    assert "mine" in [one.name for one in list_base_models(settings)]
    code, out, err = command("merge", "two", "-o", output, "--no-prove", "--overwrite")
    assert (code, err) == (0, "")
    assert "original weights" in out


REFUSED = {
    "an output that exists": (("one", "-o", "{out}/taken"), "exists already"),
    "something else there": (("one", "-o", "{out}/taken", "--overwrite"), "something else"),
    "another base": (("one", "--base", "{tiny}", "-o", "{out}/new"), "tiny-llama"),
    "another fingerprint": (("two", "--base", "{scaled}", "-o", "{out}/new"), "fingerprint"),
    "other targets": (("{other}", "-o", "{out}/new"), "no such weight"),
    "no numbers": (
        ("{bare}", "--base", "{broken}", "-o", "{out}/new", "--no-prove"),
        "model.norm.weight (1 of",
    ),
    "no adapter": (("nobody", "-o", "{out}/new"), "nobody"),
    "no base": (("one", "--base", "no/where/at-all", "-o", "{out}/new"), "no/where"),
    "no such weights": (("one", "--weights", "dequantized", "-o", "{out}/new"), "dequantized"),
    "an original": (("one", "--original", "starter", "-o", "{out}/new"), "not stored quantized"),
    "no rows": (("one", "--rows", "no.jsonl", "-o", "{out}/new"), "no.jsonl"),
    "no type": (("one", "--dtype", "float8", "-o", "{out}/new"), "float8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_merged_is_said_with_exit_2_and_nothing_is_written(
    adapters, command, tmp_path, tiny_llama, case
):
    words, said = REFUSED[case]
    other = changed(adapters[1], tmp_path / "other", lambda key: key.replace("q_proj", "w_pack"))
    scaled = shutil.copytree(MODEL_DIR, tmp_path / "scaled")
    tensors = {name: 1.01 * weight for name, weight in load_file(scaled / WEIGHTS).items()}
    save_file(tensors, scaled / WEIGHTS, metadata={"format": "pt"})
    bare = shutil.copytree(adapters[0], tmp_path / "bare")
    (bare / "provenance.json").unlink()
    broken = shutil.copytree(MODEL_DIR, tmp_path / "broken")
    tensors = load_file(broken / WEIGHTS)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, broken / WEIGHTS, metadata={"format": "pt"})
    places = {
        "out": tmp_path / "out",
        "tiny": tiny_llama,
        "scaled": scaled,
        "other": other,
        "bare": bare,
        "broken": broken,
    }
    (tmp_path / "out" / "taken").mkdir(parents=True)
    (tmp_path / "out" / "taken" / "letters.txt").write_text("mine")
    before = everything_in(tmp_path)
    code, out, err = command("merge", *(word.format(**places) for word in words), "--json")
    assert (code, out) == (2, "")
    assert said in err
    assert everything_in(tmp_path) == before


def test_extract_says_what_the_contract_names_with_the_losses(
    command, tuned, rows_file, settings, tmp_path
):
    words = ("extract", "--base", "starter", "--tuned", tuned, "--rank", 1)
    rows = ("--rows", rows_file, "--json")
    code, out, _ = command(*words, "-o", tmp_path / "adapters" / "found", *rows)
    document = json.loads(out)
    assert code == 0
    assert [one["name"] for one in document["modules"]] == ["model.layers.0.self_attn.q_proj"]
    losses = document["losses"]
    assert losses["extracted"] == pytest.approx(losses["tuned"], abs=1e-4)
    assert losses["rows"] == 40
    shutil.copytree(tuned, settings.models_dir / "listed")
    code, out, _ = command(*words[:4], "listed", *words[5:], "-o", tmp_path / "again", "--json")
    assert json.loads(out)["losses"] is None
    file = ("--base", "starter", "--tuned", tuned / WEIGHTS, "-o", tmp_path / "third", *rows)
    code, out, err = command("extract", "--rank", 1, *file)
    assert code == 0
    assert json.loads(out)["losses"] is None
    assert "no model folder" in err


NOT_EXTRACTED = {
    "an output that exists": (("{tuned}", "-o", "{out}/taken", "--rank", "1"), "exists already"),
    "the same weights": (("starter", "-o", "{out}/new", "--rank", "1"), "same weights"),
    "another model": (("{tiny}", "-o", "{out}/new", "--rank", "1"), "tuned checkpoint"),
    "no model": (("nothing", "-o", "{out}/new", "--rank", "1"), "nothing"),
    "no target": (("{tuned}", "-o", "{out}/new"), "0 are given"),
    "rank 0": (("{tuned}", "-o", "{out}/new", "--rank", "0"), "Rank 0"),
    "no rows": (("{tuned}", "-o", "{out}/new", "--rank", "1", "--rows", "no.jsonl"), "no.jsonl"),
}


@pytest.mark.parametrize("case", NOT_EXTRACTED)
def test_what_cannot_be_extracted_is_said_with_exit_2_and_nothing_is_written(
    command, tmp_path, tiny_llama, tuned, case
):
    words, said = NOT_EXTRACTED[case]
    places = {"out": tmp_path / "out", "tiny": tiny_llama, "tuned": tuned}
    (tmp_path / "out" / "taken").mkdir(parents=True)
    before = everything_in(tmp_path)
    given = [word.format(**places) for word in words]
    code, out, err = command("extract", "--base", "starter", "--tuned", *given, "--json")
    assert (code, out) == (2, "")
    assert said in err
    assert everything_in(tmp_path) == before
