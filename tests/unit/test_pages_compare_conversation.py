"""What is asked of which column: memory, strengths, and the question asked last."""

import pytest

from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from pages.compare.conversation import (
    ADAPTER,
    BASE,
    OWN,
    Conversation,
    chat_message,
    is_sampled,
    plain_messages,
    sampled_message,
    up_to_last_question,
    without_sampled,
)

SETTINGS = [AdapterSettings(0.5), AdapterSettings(layers_off=frozenset({1}))]
HISTORIES = {
    name: [chat_message("user", "a"), chat_message("assistant", f"from {name}"),
           chat_message("user", "b")]
    for name in ("base", "x", "y")
}  # fmt: skip


def conversation(memory: str, system: str = "") -> Conversation:
    return Conversation(
        adapters=["x", "y"],
        ask_as="auto",
        base="starter",
        system=system,
        memory=memory,
        sampling=Sampling(),
        settings=SETTINGS,
        server=None,
        session=None,
        histories=HISTORIES,
    )


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (OWN, ["from base", "from x", "from y"]),
        (BASE, ["from base"] * 3),
        (ADAPTER, ["from x"] * 3),
    ],
)
def test_each_column_goes_on_from_what_was_chosen(memory, expected):
    requests = conversation(memory).requests(HISTORIES)
    assert [request.messages[1].content for request in requests] == expected
    assert [request.settings for request in requests] == [AS_TRAINED, *SETTINGS]
    assert [request.column for request in requests] == ["base", "x", "y"]


def test_the_system_prompt_opens_every_conversation_but_an_empty_one_does_not():
    assert conversation(OWN, "Be brief.").requests(HISTORIES)[2].messages[0].role == "system"
    assert conversation(OWN, "  ").requests(HISTORIES)[2].messages[0].role == "user"


def test_the_last_question_is_found_behind_its_answer():
    answered = {
        name: [*history, chat_message("assistant", "yes")] for name, history in HISTORIES.items()
    }
    assert up_to_last_question(answered) == HISTORIES
    with pytest.raises(EngineError, match="Nothing was asked"):
        up_to_last_question({"base": [], "x": []})


def test_what_a_run_noted_is_asked_here_by_retry_and_forgotten_by_the_next_question():
    noted = [sampled_message("user", "a"), sampled_message("assistant", "b")]
    kept = plain_messages([*noted, chat_message("user", "c")])
    assert [is_sampled(item) for item in kept] == [True, True, False]
    assert without_sampled({"base": kept}) == {"base": [chat_message("user", "c")]}
    assert up_to_last_question({"base": noted}) == {"base": [chat_message("user", "a")]}
