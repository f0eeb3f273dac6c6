"""The bundled example `json`, trained as the Train page would: form and meaning, both kept."""

import json

import pytest

from lora_engine.engine import Engine
from lora_engine.generation.sampling import Sampling
from lora_engine.spec import recipe_spec
from lora_engine.starter import heldout_path
from lora_engine.starter.checks import is_json_object, keeps_meaning
from tests.training_runs import train_here, without_looking

pytestmark = pytest.mark.slow

PROMPTS = 50


@pytest.mark.slow
def test_the_json_example_keeps_form_and_meaning(settings, tmp_path):
    directory, _ = train_here(without_looking(recipe_spec("json")), tmp_path / "run", settings)
    path = heldout_path("json")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()[:PROMPTS]]
    asked = Engine(settings).compare.answer_prompts(
        "starter",
        [str(directory.adapter_path)],
        [row["instruction"] for row in rows],
        Sampling(max_new_tokens=64),
    )
    texts = [prompt.answers[1].text for prompt in asked.prompts]
    kept = [keeps_meaning(row, text) for row, text in zip(rows, texts, strict=True)]
    assert sum(map(is_json_object, texts)) / PROMPTS >= 0.95
    assert sum(kept) / PROMPTS >= 0.85
