"""Which prompts get the note that the starter knows only English."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_engine.base_models import BaseModel
from lora_engine.compare.prompts import language_notes
from lora_engine.language import speaking

STARTER = BaseModel("starter", Path("starter"))


@pytest.mark.parametrize(
    ("prompt", "noted"),
    [
        ("天空是什么颜色？", True),
        ("Привет, кто ты?", True),
        ("What colour is the sky?", False),
        ("Où est le café de Zoë?", False),
        ("What does the word 猫 mean in English?", False),
        ("12 + 7?", False),
        ("", False),
    ],
)
def test_prompts_in_another_script_are_noted(prompt, noted):
    assert bool(language_notes(STARTER, [prompt])) == noted


def test_of_other_models_nothing_is_known():
    assert language_notes(BaseModel("qwen", Path("qwen")), ["天空是什么颜色？"]) == []


def test_one_of_several_prompts_suffices_and_the_note_is_said_once():
    assert len(language_notes(STARTER, ["Hello!", "你好！", "再见！"])) == 1


def test_the_note_is_in_the_language_of_the_page():
    with speaking("zh"):
        (note,) = language_notes(STARTER, ["你好！"])
    assert "英语" in note
    assert note != language_notes(STARTER, ["你好！"])[0]
