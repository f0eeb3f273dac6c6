"""Access tokens are in no error, no log and no list of checks."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from lora_engine import scrubbing
from lora_engine.doctor import run_checks
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.run_folder import RunDirectory
from lora_engine.runs.launcher import worker_environment
from lora_engine.settings import Settings
from lora_engine.spec import spec_from
from lora_engine.training.preflight import check_run
from lora_engine.training.reporting.outcome import run_problem

TOKEN = "hf_" + "aB3dE6gH9jK2" * 3
OTHER = "a token of another form"


def test_tokens_are_told_by_their_form_and_by_the_environment(monkeypatch):
    assert (
        scrubbing.scrubbed(f"Bearer {TOKEN}, hf_short, hf_hub") == "Bearer hf_…, hf_short, hf_hub"
    )
    assert not scrubbing.has_token(OTHER)
    monkeypatch.setenv("HF_TOKEN", f" {OTHER}\n")
    assert scrubbing.scrubbed(f"sent {OTHER}.") == "sent hf_…."
    monkeypatch.setenv("HF_TOKEN", "a")
    assert scrubbing.scrubbed("an error") == "an error"


def test_an_error_for_the_person_holds_no_token(tmp_path):
    error = EngineError(f"got {TOKEN}", f"leave out {TOKEN}")
    invalid = InvalidInput("The spec", [FieldProblem("name", f"got {TOKEN}")], "Correct it.")
    bug = run_problem(ValueError(TOKEN), RunDirectory(tmp_path), Settings(data_dir=tmp_path))
    told = [str(error), repr(error), str(invalid), str(invalid.problems), bug.model_dump_json()]
    assert all(TOKEN not in text and "hf_…" in text for text in told)


def test_a_log_and_what_is_printed_hold_no_token():
    program = f"""
import logging, sys
from lora_engine.scrubbing import scrub_output
scrub_output()
logging.basicConfig(stream=sys.stderr)
print("{TOKEN}")
sys.stdout.writelines(["{TOKEN}"])
try:
    raise ValueError("{TOKEN}")
except ValueError:
    logging.exception("failed")
raise RuntimeError("{TOKEN}")
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert TOKEN not in child.stdout + child.stderr
    assert child.stdout.count("hf_…") == 2
    assert child.stderr.count("hf_…") >= 2
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(scrubbing.ScrubbedFormatter())
    handler.handle(logging.LogRecord("x", logging.ERROR, "", 0, "sent %s", (TOKEN,), None))
    assert stream.getvalue() == "sent hf_…\n"


def test_a_spec_that_holds_a_token_is_refused_by_the_field(tmp_path):
    dataset = {"mixture": [{"source": "starter:pirate"}, {"source": f"https://x:{TOKEN}@y/z.csv"}]}
    spec = spec_from({"name": f"my {TOKEN}", "dataset": dataset})
    with pytest.raises(InvalidInput) as error:
        check_run(spec, Settings(data_dir=tmp_path, models_dir=tmp_path))
    paths = {problem.path for problem in error.value.problems}
    assert {"name", "dataset.mixture.1.source"} <= paths
    assert TOKEN not in str(error.value)


def test_the_doctor_says_whether_there_is_a_token_and_a_worker_gets_it_for_the_hub_alone(
    monkeypatch,
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    checks = run_checks(Settings())
    assert "set" in next(check.detail for check in checks if check.name == "HF_TOKEN")
    assert TOKEN not in json.dumps([check.detail for check in checks])
    assert "HF_TOKEN" not in worker_environment(os.environ, Settings(), "cpu")
    assert worker_environment(os.environ, Settings(), "cpu", names_hub=True)["HF_TOKEN"] == TOKEN
