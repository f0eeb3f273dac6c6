"""What is wrong with one row, seen by itself: in no language, by rules that are written here.

Knows no other row, no model and no tokens. Every pattern is bounded, so that a hostile text costs
no more time than its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lora_engine.data.checks.findings import FindingKind
from lora_engine.data.rows import Row
from lora_engine.language import tr

# Marks that chat templates of the common families write; plain text holds them seldom.
LEFTOVERS = re.compile(
    r"<\|im_start\|>|<\|im_end\|>|<\|eot_id\|>|<\|start_header_id\|>|<\|begin_of_text\|>"
    r"|<\|endoftext\|>|<\|(?:user|assistant|system|end)\|>|\[/?INST\]|<</?SYS>>"
    r"|</?start_of_turn>|<end_of_turn>|^### (?:Instruction|Response|Input):"
    r"|^(?:USER|ASSISTANT|Human|Assistant): ",
    re.M,
)
# What UTF-8 looks like when it is read as Latin-1 or Windows-1252.
# In words of capitals "Ã" may end one, before a closing mark: “AMANHÔ.
MOJIBAKE = re.compile(
    r"(?!(?<=[A-ZÀ-Þ])Ã[\u00a0\u00bb’“”–—…](?!\w))Ã[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[™œ\u009d“”¦˜]|Â[\u00a0-\u00bf]"
)
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ud800-\udfff]")
KEYS = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    # a key of this kind has digits and capitals; a word of an address (/sk-a-small-town) has not
    r"|\b(?:sk-(?=[a-z0-9_-]{0,200}[A-Z])(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|AKIA[A-Z0-9]{16}|xox[bap]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35})"
)
ADDRESSES = re.compile(
    r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}\b"
)
# Addresses of nobody (RFC 2606, git over SSH), and what looks like one: icon@2x.png.
PUBLIC_ADDRESSES = re.compile(
    r"[@.]example\.(?:com|org|net)$|\.(?:example|test|invalid|localhost)$|^git@"
    r"|\.(?:png|jpe?g|gif|webp|svg|css|js|ts|json|html)$",
    re.I,
)
TAGS = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,20}(?:\s[^<>]{0,300})?>|https?://\S{4,300}")
MARKUP_SHARE = 0.3  # of a text's characters
MARKUP_LEAST = 3  # tags or links

Problem = tuple[FindingKind, str]


def problems_of(row: Row) -> Iterator[Problem]:
    """What is wrong with the row, each kind once, with the text where it shows."""
    if row.messages:
        yield from _of_turns(row)
    elif row.text is not None and not row.text.strip() and not row.words:
        yield FindingKind.NO_ANSWER, ""
    text = text_of(row)
    for kind, pattern in (
        (FindingKind.BROKEN_TEXT, CONTROLS),
        (FindingKind.BROKEN_TEXT, MOJIBAKE),
        (FindingKind.TEMPLATE_LEFTOVER, LEFTOVERS),
    ):
        if found := pattern.search(text):
            yield kind, _around(text, found)
    if KEYS.search(text) or _has_private_address(text):
        yield FindingKind.SECRET, ""
    if found := _markup(text):
        yield FindingKind.MARKUP, _around(text, found)


def text_of(row: Row) -> str:
    """All that the row says, turn by turn."""
    spoken = (*row.messages, *row.rejected[-1:])
    turns = (part for turn in spoken for part in (turn.reasoning, turn.content))
    return "\n".join(part for part in (*turns, row.text or "", " ".join(row.words)) if part)


def question_of(row: Row) -> str:
    """What stands before the last answer, with whose turn each is; the text of a row to classify.
    Empty where nothing does."""
    if row.label is not None:
        return row.text or ""
    last = _last_answer(row)
    before = row.messages if last is None else row.messages[:last]
    return "\n".join(f"{turn.role}: {turn.content}" for turn in before)


def answer_of(row: Row) -> str:
    """The last answer with its calls of tools; a row to classify answers with its class."""
    if row.label is not None:
        return row.label
    last = _last_answer(row)
    if last is None:
        return ""
    turn = row.messages[last]
    return f"{turn.content}\n{turn.tool_calls}".strip()


def _last_answer(row: Row) -> int | None:
    answers = [place for place, turn in enumerate(row.messages) if turn.role == "assistant"]
    return answers[-1] if answers else None


def _of_turns(row: Row) -> Iterator[Problem]:
    turns = row.messages
    answers = [turn for turn in turns if turn.role == "assistant" and turn.is_learned]
    asked = next((turn.content for turn in turns if turn.role == "user"), "")
    if not answers:
        yield FindingKind.NO_ANSWER, asked
    elif not all(turn.content.strip() or turn.reasoning or turn.tool_calls for turn in answers):
        yield FindingKind.EMPTY_ANSWER, asked
    elif asked.strip() and any(_same(turn.content, asked) for turn in answers):
        yield FindingKind.ANSWER_IS_QUESTION, asked
    if row.rejected and _same(turns[-1].content, row.rejected[-1].content):
        yield FindingKind.EQUAL_PAIR, turns[-1].content
    if order := _wrong_order([turn.role for turn in turns]):
        yield FindingKind.ROLES, order


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


def _wrong_order(roles: list[str]) -> str:
    """Where the roles leave the order, in words; empty where they do not.

    A tool's result may follow a call or another result, and an answer may follow a result.
    """
    spoken = [role for role in roles if role != "tool"]
    if "system" in spoken[1:]:
        return tr("a system turn after the first turn")
    chat = [role for role in spoken if role != "system"]
    if chat and chat[0] != "user":
        return tr("begins with {chat}", chat=chat[0])
    for place, (one, other) in enumerate(zip(chat, chat[1:], strict=False), start=2):
        if one == other and not (one == "assistant" and "tool" in roles):
            return tr(
                "two turns of {one} in a row, the second is turn {place} of the chat",
                one=one,
                place=place,
            )
    return tr("ends with a question") if chat and chat[-1] == "user" else ""


def _has_private_address(text: str) -> bool:
    return any(not PUBLIC_ADDRESSES.search(found.group()) for found in ADDRESSES.finditer(text))


def _markup(text: str) -> re.Match[str] | None:
    """The first tag or link where they are many and make a large share of the text."""
    found = list(TAGS.finditer(text))
    length = sum(one.end() - one.start() for one in found)
    is_much = len(found) >= MARKUP_LEAST and length >= MARKUP_SHARE * len(text)
    return found[0] if is_much else None


def _around(text: str, found: re.Match[str]) -> str:
    """The text from a little before what was found."""
    return text[max(0, found.start() - 30) : found.end() + 60]
