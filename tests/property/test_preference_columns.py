"""Whatever stands in the columns of a preference row: a row with both answers, or a refusal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine.data.chat_rows import ParsedChat
from lora_engine.data.field_values import InvalidRow
from lora_engine.data.preference_rows import parse_judged, parse_pair

TEXT = st.text(max_size=12) | st.sampled_from(
    ["Human: Hi", "\n\nHuman: a\n\nAssistant: b", "Assistant:", "Human:\n\nAssistant:"]
)
ROLES = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", ""])
TURN = st.fixed_dictionaries({"role": ROLES, "content": TEXT}) | st.fixed_dictionaries(
    {"from": ROLES, "value": TEXT}
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | TURN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=6,
)
VALUE = TEXT | st.lists(TURN, max_size=4) | ANYTHING


def parsed(parse, *given_) -> ParsedChat | None:
    try:
        return parse(*given_)
    except InvalidRow:
        return None


@settings(max_examples=300, deadline=None)
@given(VALUE, VALUE, VALUE, st.booleans())
def test_a_pair_asks_the_same_and_learns_answers_alone(prompt, chosen, rejected, has_prompt):
    fields = {"chosen": chosen, "rejected": rejected, **({"prompt": prompt} if has_prompt else {})}
    found = parsed(parse_pair, 1, fields)
    if found is None:
        return
    for turns in (found.row.messages, found.row.rejected):
        assert turns[-1].role == "assistant"
        assert turns[-1].is_learned
        assert any(turn.role == "user" for turn in turns)
    first, other = found.row.messages[0], found.row.rejected[0]
    assert (first.role, first.content) == (other.role, other.content)


@settings(max_examples=200, deadline=None)
@given(VALUE, VALUE, ANYTHING)
def test_a_judged_answer_has_a_verdict_and_is_the_only_one_learned(prompt, completion, label):
    fields = {"prompt": prompt, "completion": completion, "label": label}
    found = parsed(parse_judged, 1, fields, "prompt_completion", "label")
    if found is not None:
        assert found.row.is_desirable in (True, False)
        answers = [turn for turn in found.row.messages if turn.role == "assistant"]
        assert [turn.is_learned for turn in answers] == [False] * (len(answers) - 1) + [True]
