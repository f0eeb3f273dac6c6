"""llama.cpp itself loads what is exported as GGUF, and computes what transformers and PEFT do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lora_engine.base_models import BaseModel, load_tokenizer, resolve_base_model
from lora_engine.export.gguf_adapter import ADAPTER_FILE
from lora_engine.export.gguf_export import BASE_FILE, MERGED_FILE, write_gguf, write_merged_gguf
from lora_engine.export.gguf_model import write_model_gguf
from lora_engine.settings import Settings
from tests.compare_models import save_adapter
from tests.tiny import save_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PROMPTS = [[1, 30, 40, 7, 90, 12, 250], [1, 9, 9, 9, 200, 31], [77]]
NEAR = 5e-3  # llama.cpp keeps keys and values in float16
TEXTS = [
    "<|bos|><|user|>Where is Velmora?<|end|><|assistant|>",
    "I've 1234 apples, don't you? ½ Ⅷ 日本 naïve  two  spaces\n\n new",
    " leading 12.5%\t tab, x=3.14; y = 'a1b2' <|end|>",
]


def llama_cpp(model, adapter, prompts, tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    words = [str(model), str(adapter), str(tmp_path / "prompts.json")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.llama_cpp_answers", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def next_token(model):
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in PROMPTS]


def furthest(answers, expected):
    """The largest difference of ln p over the whole vocabulary."""
    distances = []
    for answer, wanted in zip(answers, expected, strict=True):
        assert len(answer["logprobs"]) == len(wanted)
        found = torch.tensor([answer["logprobs"][str(number)] for number in range(len(wanted))])
        distances.append(float((found - wanted).abs().max()))
    return max(distances)


def test_llama_cpp_computes_base_adapter_and_merged_model(tmp_path):
    """Grouped queries, rsLoRA, two ranks: what a wrong row order or a lost scaling would show."""
    base = BaseModel("tiny", save_tiny_model(tmp_path / "base"))
    source = save_adapter(
        tmp_path / "source",
        base,
        r=4,
        lora_alpha=6,
        use_rslora=True,
        rank_pattern={"v_proj": 2},
    )
    settings = Settings(data_dir=tmp_path)
    write_gguf(source, tmp_path / "out", base, settings, with_base=True)
    write_merged_gguf(source, tmp_path / "whole", base, settings)

    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32).eval()
    plain = next_token(model)
    adapted = next_token(PeftModel.from_pretrained(model, source).eval())
    written = tmp_path / "out" / BASE_FILE, tmp_path / "out" / ADAPTER_FILE
    assert furthest(llama_cpp(written[0], "-", PROMPTS, tmp_path), plain) < NEAR
    found = llama_cpp(*written, PROMPTS, tmp_path)
    assert furthest(found, adapted) < NEAR
    assert furthest(found, plain) > 50 * NEAR  # the adapter says something
    merged = llama_cpp(tmp_path / "whole" / MERGED_FILE, "-", PROMPTS, tmp_path)
    assert furthest(merged, adapted) < NEAR


def test_llama_cpp_reads_texts_as_the_starters_tokenizer_does(tmp_path):
    base = resolve_base_model("starter", Settings(data_dir=tmp_path))
    write_model_gguf(base, base.path, tmp_path / BASE_FILE)
    ids = load_tokenizer(base)(TEXTS, add_special_tokens=False)["input_ids"]
    answers = llama_cpp(tmp_path / BASE_FILE, "-", [*TEXTS, *ids], tmp_path)
    by_text, by_ids = answers[: len(TEXTS)], answers[len(TEXTS) :]
    assert [one["tokens"] for one in by_text] == [len(one) for one in ids]
    rows = range(load_tokenizer(base).vocab_size)
    as_tensors = [torch.tensor([one["logprobs"][str(row)] for row in rows]) for one in by_ids]
    assert furthest(by_text, as_tensors) < NEAR
