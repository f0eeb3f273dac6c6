"""`compare` on the command line: chat, token by token, and a set of prompts with checks."""

import json
from shutil import copytree

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.base_models import fingerprint, resolve_base_model
from lora_engine.run_folder import read_samples
from lora_engine.starter import MODEL_DIR
from tests.compare_models import save_adapter
from tests.training_runs import tiny_spec, train_here


@pytest.fixture
def adapter(settings, tmp_path):
    folder = save_adapter(tmp_path / "noisy", resolve_base_model("starter", settings), r=2)
    dataset = {"source": "starter:pirate"}
    (folder / "provenance.json").write_text(json.dumps({"spec": {"dataset": dataset}}))
    return folder


@pytest.fixture
def compare(settings, monkeypatch):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("LORA_DEVICE", "cpu")

    def run(*arguments: object) -> dict:
        done = CliRunner().invoke(build(), ["compare", "--json", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def test_a_set_of_prompts_is_checked_and_scored_token_by_token(compare, adapter, tmp_path):
    path = tmp_path / "questions.csv"
    path.write_text("prompt,expected\nWhat colour is the sky?,blue\nWhat colour is grass?,pink\n")
    found = compare(
        "--adapter",
        adapter,
        "--prompts",
        path,
        "--check",
        "contains",
        "--token-by-token",
        "--held-out",
    )
    base = [item["answers"][0] for item in found["prompts"]]
    assert [answer["passes"] for answer in base] == [True, False]
    assert [item["expected"] for item in found["prompts"]] == ["blue", "pink"]
    detail = base[0]["detail"]
    assert "".join(token["text"] for token in detail["tokens"]) == base[0]["text"]
    assert set(detail["perplexity"]) == {"base", str(adapter)}
    assert set(detail["tokens"][0]["log_probability"]) == {"base", str(adapter)}
    (pair,) = found["held_out"]
    assert pair["low"] < pair["difference"] < pair["high"]
    assert found["elapsed_s"] > 0


def test_another_chat_template_is_said_aloud(settings, monkeypatch, adapter):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    base = fingerprint(resolve_base_model("starter", settings))
    document = {"base_fingerprint": base, "chat_template_hash": "0" * 16}
    (adapter / "provenance.json").write_text(json.dumps(document))
    asked = ["compare", "--json", "--adapter", str(adapter), "--prompt", "Hello!"]
    done = CliRunner().invoke(build(), asked)
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "another chat template (0000000000000000)" in warning
    assert f"warning: {warning}" in done.stderr


def test_a_conversation_goes_on_and_separate_questions_do_not(compare):
    asked = ("--prompt", "What colour is the sky?", "--prompt", "What colour is grass?")
    talk = compare(*asked, "--conversation", "--token-by-token")
    apart = compare(*asked, "--token-by-token")
    first, second = (found["prompts"][1]["answers"][0]["detail"] for found in (talk, apart))
    assert talk["prompts"][0] == apart["prompts"][0]
    assert first["tokens"][0]["log_probability"] != second["tokens"][0]["log_probability"]


def test_an_adapter_is_used_as_it_is_asked_for(compare, adapter):
    asked = ("--prompt", "What colour is the sky?", "--adapter", adapter, "--token-by-token")
    trained = compare(*asked)["prompts"][0]["answers"]
    found = compare(*asked, "--layers-off", "0-3", "--strength", "1.5", "--held-out")
    base, off = found["prompts"][0]["answers"]
    assert trained[1]["text"] != trained[0]["text"]
    assert off["text"] == base["text"]
    assert found["columns"][1]["layers_off"] == [0, 1, 2, 3]
    assert found["columns"][1]["strength"] == 1.5
    assert all(token["kl_from_base"][str(adapter)] < 1e-6 for token in off["detail"]["tokens"])
    assert found["held_out"][0]["difference"] == pytest.approx(0.0, abs=1e-5)
    weak = compare(*asked, "--strength", "0")["prompts"][0]["answers"]
    assert weak[1]["text"] == base["text"]


@pytest.fixture
def two_ends(tmp_path):
    """The starter with a template that ends turns with one token, and files that name another."""
    folder = copytree(MODEL_DIR, tmp_path / "two-ends")
    for name in ("config.json", "generation_config.json"):
        known = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(known | {"eos_token_id": 0}))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["eos_token"] = "<|pad|>"
    config["extra_special_tokens"].append("<|end|>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("eos_token", "'<|end|>'"))
    return folder


def test_an_answer_ends_where_the_template_ends_a_turn(compare, two_ends, tmp_path):
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"prompt": "What colour is the sky?"}\n')
    for given in (("--prompt", "What colour is the sky?"), ("--prompts", asked)):
        found = compare("--base", two_ends, *given, "--max-new-tokens", 60)
        (answer,) = found["prompts"][0]["answers"]
        assert (answer["text"], answer["tokens"]) == ("The sky is blue.", 5)


def test_sample_answers_of_a_run_end_there_too(two_ends, settings, tmp_path):
    report = {"samples": 1, "sample_prompts": ["What colour is the sky?"], "sample_tokens": 40}
    spec = tiny_spec(
        two_ends, "starter:facts", report=report, optimization={"max_steps": 1, "max_length": 64}
    )
    directory, _ = train_here(spec, tmp_path / "run", settings)
    first = read_samples(directory)[0]
    assert (first.step, first.text, first.finished) == (0, "The sky is blue.", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompt", " "), "Prompt 1 is empty"),
        (("--prompt", "x", "--strength", "1"), "for 0 adapters"),
        (("--prompt", "x", "--adapter", "a", "--layers-off", "x"), "names no layer"),
        (("--prompt", "x", "--held-out"), "needs an adapter"),
        (("--prompt", "x", "--top-p", "0"), "--top-p"),
        (("--prompt", "x", "--check", "regex", "--expect", "("), "no regular expression"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_printed(settings, monkeypatch, arguments, said):
    monkeypatch.setenv("LORA_DATA_DIR", str(settings.data_dir))
    done = CliRunner().invoke(build(), ["compare", "--json", *arguments])
    assert isinstance(done.exception, Exception)
    assert said in f"{done.exception} {done.stderr}"
    assert done.stdout == ""
