"""EleutherAI's lm-evaluation-harness against the API: a small task of its own, nothing fetched."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lora_engine.base_models import STARTER, BaseModel
from lora_engine.compare.generate import ComparisonModel
from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.compare.scoring.log_probabilities import log_probabilities, next_token_logits
from lora_engine.settings import Settings
from lora_engine.starter import MODEL_DIR
from tests.api_server import KEY, save_served_adapter, served_api

STARTER_MODEL = BaseModel(STARTER, MODEL_DIR)
ROWS = [
    {"question": "The sky is", "choices": ["blue.", "three."], "answer": 0},
    {"question": "The grass is", "choices": ["seven.", "green."], "answer": 1},
    {"question": "Two and three make", "choices": ["five.", "red."], "answer": 0},
]
CHOICES = """
task: small_choices
dataset_path: json
dataset_kwargs:
  data_files: {{test: {file}}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - metric: acc
"""
GENERATED = """
task: small_generated
dataset_path: json
dataset_kwargs:
  data_files: {{test: {file}}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 12, temperature: 0.0}}
metric_list:
  - metric: exact_match
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [STARTER, "first"])
def test_lm_eval_measures_what_the_model_says_here(tmp_path, name):
    data = tmp_path / "data"
    adapter = save_served_adapter(data, "first", STARTER_MODEL)
    with served_api(data) as served:
        samples = evaluated(tmp_path, f"{served.address}/completions", name)
    model = ComparisonModel.load(STARTER_MODEL, {"first": adapter}, Settings(device="cpu"))
    for sample in samples["small_choices"]:
        found = [float(answer[0][0]) for answer in sample["resps"]]
        expected = [
            loglikelihood(model, name, sample["doc"]["question"], choice)
            for choice in sample["doc"]["choices"]
        ]
        assert found == pytest.approx(expected, abs=1e-3)
    assert len(samples["small_choices"]) == len(samples["small_generated"]) == len(ROWS)
    assert all("." not in sample["resps"][0][0] for sample in samples["small_generated"])
    assert any(sample["resps"][0][0] for sample in samples["small_generated"])


def evaluated(folder: Path, address: str, name: str) -> dict[str, list[dict]]:
    """lm-eval's own samples by task."""
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in ROWS), "utf-8")
    tasks = folder / "tasks"
    tasks.mkdir()
    for task, text in (("choices", CHOICES), ("generated", GENERATED)):
        (tasks / f"{task}.yaml").write_text(text.format(file=rows), "utf-8")
    arguments = {
        "model": name,
        "base_url": address,
        "tokenizer": MODEL_DIR,
        "tokenizer_backend": "huggingface",
        "num_concurrent": 4,
        "max_length": 256,
    }
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"]
    command += ["--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())]
    command += [
        "--batch_size",
        "2",
        "--tasks",
        "small_choices,small_generated",
        "--include_path",
        str(tasks),
    ]
    command += ["--output_path", str(folder / "out"), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    environment = {**os.environ, **offline, "OPENAI_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        task: [
            json.loads(line)
            for path in (folder / "out").rglob(f"samples_{task}_*.jsonl")
            for line in path.read_text("utf-8").splitlines()
        ]
        for task in ("small_choices", "small_generated")
    }


def loglikelihood(model: ComparisonModel, name: str, question: str, choice: str) -> float:
    """ln p of a choice after its question, tokenized as lm-eval does it."""
    tokenizer = model.shared.tokenizer
    whole = tokenizer(f"{question} {choice}", add_special_tokens=False)["input_ids"]
    first = len(tokenizer(question, add_special_tokens=False)["input_ids"])
    column = "base" if name == STARTER else name
    with model.shared.keep_loaded({column: model.columns[column]}) as keys:
        (logits,) = next_token_logits(model, whole, first, [AdapterVariant(keys[column])])
    return math.fsum(log_probabilities(logits.to(torch.float64), whole[first:]).tolist())
