"""What is asked of which column: memory, strengths, and the question asked last."""

import pytest

from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings
from lora_engine.compare.generate.sampling import Sampling
from lora_engine.errors import EngineError
from pages.compare.conversation import ADAPTER, BASE, OWN, Said, asked_last, turn

USES = [AdapterSettings(0.5), AdapterSettings(layers_off=frozenset({1}))]
HISTORIES = [
    [turn("user", "a"), turn("assistant", "from the base"), turn("user", "b")],
    [turn("user", "a"), turn("assistant", "from x"), turn("user", "b")],
    [turn("user", "a"), turn("assistant", "from y"), turn("user", "b")],
    [],
]


def said(memory: str, system: str = "") -> Said:
    return Said(["x", "y"], "starter", system, memory, Sampling(), USES, None, None, HISTORIES)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (OWN, ["from the base", "from x", "from y"]),
        (BASE, ["from the base"] * 3),
        (ADAPTER, ["from x"] * 3),
    ],
)
def test_each_column_goes_on_from_what_was_chosen(memory, expected):
    requests = said(memory).requests(HISTORIES)
    assert [request.messages[1].content for request in requests] == expected
    assert [request.settings for request in requests] == [AS_TRAINED, *USES]
    assert [request.column for request in requests] == ["base", "x", "y"]


def test_the_system_prompt_opens_every_conversation_but_an_empty_one_does_not():
    assert said(OWN, "Be brief.").requests(HISTORIES)[2].messages[0].role == "system"
    assert said(OWN, "  ").requests(HISTORIES)[2].messages[0].role == "user"


def test_the_last_question_is_found_behind_its_answer():
    answered = [[*history, turn("assistant", "yes")] for history in HISTORIES[:3]]
    assert asked_last(answered) == HISTORIES[:3]
    with pytest.raises(EngineError, match="Nothing was asked"):
        asked_last([[], []])
