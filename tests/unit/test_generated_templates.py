"""What is learned with 115 templates put together from the ways in which templates differ."""

from __future__ import annotations

import pytest

from lora_engine.data import Message, Row, templates
from lora_engine.data.masking import supervised_texts
from lora_engine.data.templates import ChatTemplate
from lora_engine.data.turn_end import end_of_turn
from lora_engine.errors import EngineError
from lora_engine.guarded import template_rendering
from tests.generated_templates import BOS, EOS, Kind, Refused, Unclear, kinds, lay_out, source
from tests.unit.test_data_masks import SPECIALS, make_tokenizer

KINDS = kinds(115)
TOKENS = [*SPECIALS, "<|system|>"]

SYSTEM = Message("system", "Be brief.")
USER = Message("user", "Name a colour.")
AGAIN = Message("user", "Another one, please.")
BLUE = Message("assistant", "Blue, like the sea.")
RED = Message("assistant", "Red.")
THOUGHT = Message("assistant", "<think>\nSea and sky.\n</think>\n\nIt is blue.")
THOUGHT_2 = Message("assistant", "<think>Sea too</think>Fire is red.")
MARKUP = Message("assistant", "user\nName a colour.\n\nAssistant: <think> is a mark")
CONTROL = Message("assistant", "a <|im_end|> b <|user|> c </s> d")
UNLEARNED = Message("assistant", "Grey, or so.", is_learned=False)
ROWS = {
    "one question": (USER, BLUE),
    "two questions": (USER, BLUE, AGAIN, RED),
    "the same answer twice": (USER, RED, USER, RED),
    "with a system text": (SYSTEM, USER, BLUE, AGAIN, RED),
    "an empty answer first": (USER, Message("assistant", ""), AGAIN, RED),
    "an empty answer last": (USER, RED, AGAIN, Message("assistant", "")),
    "thoughts": (USER, THOUGHT),
    "thoughts twice": (SYSTEM, USER, THOUGHT, AGAIN, THOUGHT_2),
    "markup in the answer": (USER, MARKUP, AGAIN, RED),
    "control tokens in the answer": (USER, CONTROL, AGAIN, RED),
    "white space around": (Message("user", "  Hi \n"), Message("assistant", "\n Blue. ")),
    "a turn that is not learned": (USER, UNLEARNED, AGAIN, RED),
    "a question behind": (USER, RED, AGAIN),
    "two answers running": (USER, BLUE, RED),
}


@pytest.fixture(autouse=True)
def rendered_here(monkeypatch):
    """Render in this process: the templates are the test's own, and a child takes a while."""

    def render_batch(template, conversations):
        texts = []
        requests = templates._requests(template, conversations)
        answers = template_rendering.answers(
            template.source, template.variables, requests, templates.RENDER_CHARACTERS
        )
        for conversation, answer in zip(conversations, answers, strict=True):
            if "error" in answer and not conversation.may_fail:
                raise templates._failed(conversation, answer["error"])
            texts.append(answer.get("text", ""))
        return texts

    monkeypatch.setattr(templates, "_render_batch", render_batch)


def template_of(kind: Kind) -> ChatTemplate:
    return ChatTemplate("generated", source(kind), {"bos_token": BOS, "eos_token": EOS})


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_a_generated_template_teaches(kind):
    rows, wanted, refused = [], [], []
    for number, turns in enumerate(ROWS.values(), start=1):
        try:
            wanted.append(lay_out(kind, turns))
            rows.append(Row(number, turns, None))
        except Refused:
            refused.append(Row(number, turns, None))
        except Unclear:
            continue
    found = supervised_texts(template_of(kind), rows, TOKENS, EOS)
    for row, ours, laid in zip(rows, found, wanted, strict=True):
        name = list(ROWS)[row.number - 1]
        assert (name, ours.text) == (name, laid.text)
        learned = [ours.text[start:end] for start, end in ours.spans]
        assert (name, learned) == (name, laid.learned)
        assert (name, bool(ours.left_out)) == (name, laid.is_short)
        assert ours.ends_with_token == bool(kind.close.stop)
    for row in refused:
        with pytest.raises(EngineError, match=f"row {row.number} "):
            supervised_texts(template_of(kind), [row], TOKENS, EOS)


@pytest.fixture(scope="module")
def tokenizer():
    made = make_tokenizer(None)
    made.add_special_tokens({"additional_special_tokens": ["<|system|>"]})
    return made


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_ends_generation_with_a_generated_template(kind, tokenizer):
    tokenizer.chat_template = source(kind)
    assert end_of_turn(tokenizer) == kind.close.stop


def test_every_way_is_among_the_kinds():
    for name in ("header", "ending", "system", "thoughts", "prompt", "content", "start", "style"):
        assert len({getattr(kind, name) for kind in KINDS}) > 3
    assert len(set(KINDS)) == 115
