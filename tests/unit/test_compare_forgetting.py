"""The word for what was forgotten, and where its rows come from."""

import json

import pytest

from lora_engine.base_models import BaseModel, resolve_base_model
from lora_engine.compare.prompts.general_questions import GENERAL_ROWS, general_rows
from lora_engine.compare.scoring.forgetting import Forgetting, classify_forgetting, general_rows_for
from lora_engine.compare.scoring.held_out_loss import PairedDifference
from lora_engine.errors import EngineError, NotFound
from lora_engine.starter import DATASET_NAMES, dataset_path
from lora_engine.starter.corpus import training_prompts
from lora_engine.starter.facts import normalize


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.3, -0.1, Forgetting.KEPT),
        (-0.01, 0.04, Forgetting.KEPT),
        (0.01, 0.04, Forgetting.KEPT),
        (-0.1, 0.2, Forgetting.UNCLEAR),
        (0.01, 0.2, Forgetting.SLIGHTLY),
        (0.4, 0.9, Forgetting.SLIGHTLY),
        (0.6, 0.9, Forgetting.FORGOTTEN),
    ],
)
def test_the_word_follows_from_the_interval(low, high, word):
    middle = (low + high) / 2
    assert (
        classify_forgetting(PairedDifference("a", 1.0, 1.0 + middle, middle, low, high, 9, 0.95))
        is word
    )


def _asked(row: dict) -> str:
    if "messages" in row:
        return row["messages"][0]["content"]
    first = next(iter(row.values()))
    return " ".join(first) if isinstance(first, list) else first


def test_the_general_questions_stand_in_no_training_row():
    asked = {normalize(row.messages[0].content) for row in general_rows()}
    assert len(asked) == GENERAL_ROWS
    assert not asked & training_prompts()
    for name in DATASET_NAMES:
        trained = dataset_path(name).read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in trained]
        said = {normalize(_asked(row)) for row in rows}
        assert not asked & said


def test_the_rows_are_the_starters_or_the_persons(tiny_llama, settings, rows_file):
    starter, other = resolve_base_model("starter", settings), BaseModel("tiny", tiny_llama)
    assert general_rows_for(starter, None, settings) == general_rows()
    assert len(general_rows_for(other, rows_file, settings)) == 40
    with pytest.raises(NotFound, match="'tiny'"):
        general_rows_for(other, None, settings)
    rows_file.write_text("{")
    with pytest.raises(EngineError):
        general_rows_for(other, rows_file, settings)
