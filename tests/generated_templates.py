"""Chat templates put together from the ways in which templates differ, with what each lays out.

A `Kind` chooses one way of each; `source()` is its Jinja text and `lay_out()` an independent
account in Python of the text it writes for a row and of what a model learns in it.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lora_engine.data import Message

BOS, EOS = "<s>", "</s>"
DATE = "Today is a day.\n"
DEFAULT_SYSTEM = "You are a parrot."
EMPTY_THOUGHT, OPEN_THOUGHT = "<think>\n\n</think>\n\n", "<think>\n"

# what opens a turn of the system, the user and the assistant
HEADERS = {
    "chatml": ("<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"),
    "header": tuple(
        f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("system", "user", "model")
    ),
    "turn": tuple(f"<start_of_turn>{role}\n" for role in ("developer", "user", "model")),
    "tokens": ("<|system|>", "<|user|>", "<|assistant|>"),
    "token lines": ("<|system|>\n", "<|user|>\n", "<|assistant|>\n"),
    "words": ("System: ", "User: ", "Assistant: "),
    "sections": ("### System:\n", "### Instruction:\n", "### Response:\n"),
    "shout": ("SYSTEM:", "USER:", "ASSISTANT:"),
}


@dataclass(frozen=True)
class Ending:
    """What closes a user's turn, an answer in the middle and the last one, and the conversation;
    what a model learns of it in the middle and at the end; and the token that ends generation."""

    user: str
    middle: str
    last: str
    after: str
    learned: tuple[str, str]
    stop: str


def _same(end: str, learned: str) -> Ending:
    return Ending(end, end, end, "", (learned, learned), learned.strip())


ENDINGS = {
    "line": _same("<|im_end|>\n", "<|im_end|>"),
    "bare": _same("<|eot_id|>", "<|eot_id|>"),
    "blank lines": _same("<end_of_turn>\n\n", "<end_of_turn>"),
    "own line": _same("\n<|im_end|>\n", "\n<|im_end|>"),
    "eos": Ending("\n", EOS, EOS, "", (EOS, EOS), EOS),
    "eos after a space": Ending("\n", f" {EOS}", f" {EOS}", "", (f" {EOS}", f" {EOS}"), EOS),
    "eos and begin": Ending("\n", f"{EOS}{BOS}", EOS, "", (EOS, EOS), EOS),
    "eos at the very end": Ending(
        "<|end|>\n", "<|end|>\n", "<|end|>\n", EOS, ("<|end|>", f"<|end|>\n{EOS}"), "<|end|>"
    ),
    "a mark first": Ending(
        "<|im_end|>",
        *["<|eot_id|><|im_end|>"] * 2,
        "",
        ("<|eot_id|><|im_end|>",) * 2,
        "<|im_end|>",
    ),
    "two tokens": Ending(
        "<|im_end|>", "<|im_end|>", "<|eot_id|>", "", ("<|im_end|>", "<|eot_id|>"), "<|eot_id|>"
    ),
    "none": Ending("\n", "\n", "\n", "", ("", EOS), ""),
    "words": Ending("\n", "\n### End\n", "\n### End\n", "", ("\n### End", f"\n### End{EOS}"), ""),
}
SYSTEMS = ("turn", "first user", "last user", "refused", "dropped", "default")
THOUGHTS = ("raw", "cut", "cut before", "block in last")
PROMPTS = ("bare", "empty thought", "open thought", "always")
CONTENTS = ("text", "parts", "user parts", "loop over parts")
STARTS = ("", "bos", "date", "tools")
STYLES = ("one line", "lines", "index", "namespace", "macro", "generation")
EMPTY = ("kept", "skipped")


@dataclass(frozen=True)
class Kind:
    """One way of each in which templates differ."""

    header: str
    ending: str
    system: str
    thoughts: str
    prompt: str
    content: str
    start: str
    style: str
    empty: str
    trims: bool
    alternates: bool

    def __str__(self) -> str:
        flags = [name for name in ("trims", "alternates") if getattr(self, name)]
        named = [self.header, self.ending, self.system, self.thoughts, self.prompt, self.content]
        return "/".join([*named, self.start, self.style, self.empty, *flags])

    @property
    def close(self) -> Ending:
        return ENDINGS[self.ending]

    @property
    def given(self) -> str:
        """What the generation prompt holds behind the header."""
        return {"empty thought": EMPTY_THOUGHT, "open thought": OPEN_THOUGHT}.get(self.prompt, "")


class Refused(Exception):
    """The template raises an error for such a row."""


class Unclear(Exception):
    """A row that can be learned in more than one way."""


@dataclass(frozen=True)
class LaidOut:
    """The text of a row up to its last learned answer, what is learned in it, turn by turn, and
    whether a text of the row is not written whole."""

    text: str
    learned: list[str]
    is_short: bool


def lay_out(kind: Kind, messages: Sequence[Message]) -> LaidOut:
    """What the template writes for these turns. Raises Refused and Unclear."""
    last = max(i for i, m in enumerate(messages) if m.role == "assistant" and m.is_learned)
    turns = list(messages[: last + 1])
    short = False
    pieces = [{"bos": BOS, "date": DATE}.get(kind.start, "")]
    system = turns.pop(0).content if turns[0].role == "system" else ""
    system = system.strip() if kind.trims else system
    if system and kind.system == "refused":
        raise Refused
    if system and kind.system == "dropped":
        short = True
    if kind.system == "default":
        system = system or DEFAULT_SYSTEM
    if system and kind.system in ("turn", "default"):
        pieces += [HEADERS[kind.header][0], system, kind.close.user]
    roles = [turn.role for turn in turns]
    if kind.alternates and any(r != ("user", "assistant")[i % 2] for i, r in enumerate(roles)):
        raise Refused
    _refuse_unclear(kind, turns)
    users = [i for i, role in enumerate(roles) if role == "user"]
    learned = []
    for index, turn in enumerate(turns):
        text = turn.content.strip() if kind.trims else turn.content
        if kind.empty == "skipped" and not turn.content:
            continue
        if turn.role == "user":
            merged = {"first user": users[0], "last user": users[-1]}.get(kind.system)
            before = f"<<{system}>>\n" if system and index == merged else ""
            pieces += [HEADERS[kind.header][1], before, text, kind.close.user]
            continue
        is_last = index == len(turns) - 1
        laid = _answer(kind, text, is_last)
        short = short or ("</think>" in text and "Sea" in text and "Sea" not in laid)
        close = kind.close.last if is_last else kind.close.middle
        pieces += [HEADERS[kind.header][2], laid, close]
        if turn.is_learned:
            learned.append(_beyond(kind.given, laid) + kind.close.learned[is_last])
    text = "".join(pieces) + kind.close.after
    if kind.prompt == "always":
        text += HEADERS[kind.header][2] + kind.given
    if not kind.close.stop:  # what stands behind the last answer is replaced by the end token
        keep = kind.close.learned[1].removesuffix(EOS)
        text = "".join(pieces).removesuffix(kind.close.last) + keep + EOS
    return LaidOut(text, learned, short)


def _refuse_unclear(kind: Kind, turns: Sequence[Message]) -> None:
    """Raises Unclear for an answer left out where nothing tells that it is, and for one that nobody
    asked for, behind the token that begins a row."""
    is_cut = not kind.close.stop or kind.prompt == "always"
    if kind.empty == "skipped" and not turns[-1].content and is_cut:
        raise Unclear
    runs_on = [turn.role for turn in turns] == ["user", "assistant", "assistant"]
    if kind.given and kind.ending == "eos and begin" and runs_on:
        raise Unclear


def _answer(kind: Kind, text: str, is_last: bool) -> str:
    """An answer as the template writes it: thoughts and text."""
    thought, rest = "", text
    if "</think>" in text:
        thought = text.split("</think>")[0].split("<think>")[-1].strip()
        rest = text.split("</think>")[-1].lstrip()
    if kind.thoughts == "block in last":
        return f"<think>\n{thought}\n</think>\n\n{rest}" if is_last else rest
    is_cut = kind.thoughts == "cut" or (kind.thoughts == "cut before" and not is_last)
    return rest if is_cut else text


def _beyond(given: str, laid: str) -> str:
    """What the model writes itself: the text without the marks and lines that it is given."""
    for piece in re.findall(r"<[^>]*>|\n", given):
        if not laid.startswith(piece):
            break
        laid = laid.removeprefix(piece)
    return laid


def source(kind: Kind) -> str:
    """The template in Jinja."""
    loop = {
        "index": ["{%- for i in range(turns | length) %}", "{%- set m = turns[i] %}"],
    }.get(kind.style, ["{%- for m in turns %}"])
    is_last = "i == turns | length - 1" if kind.style == "index" else "loop.last"
    place = "i" if kind.style == "index" else "loop.index0"
    lines = [
        *_start(kind),
        *_system(kind),
        *loop,
        *_checks(kind, place),
        "{%- if m.role == 'user' %}",
        f"{{{{- {_quoted(HEADERS[kind.header][1])} }}}}",
        *_merged_system(kind, place),
        f"{{{{- {_text(kind, 'user')} }}}}{{{{- {_quoted(kind.close.user)} }}}}",
        "{%- else %}",
        *_answer_lines(kind, is_last),
        "{%- endif %}",
        "{%- endfor %}",
        "{%- if not add_generation_prompt %}",
        f"{{{{- {_quoted(kind.close.after)} }}}}{{%- endif %}}",
        "{%- if add_generation_prompt or ALWAYS %}".replace(
            "ALWAYS", str(kind.prompt == "always").lower()
        ),
        f"{{{{- {_quoted(HEADERS[kind.header][2] + kind.given)} }}}}",
        "{%- endif %}",
    ]
    return ("" if kind.style == "one line" else "\n").join(lines)


def _start(kind: Kind) -> Iterator[str]:
    if kind.start == "bos":
        yield "{{- bos_token }}"
    if kind.start == "date":
        yield "{%- if strftime_now is defined %}{{- 'Today is a ' + 'day.\\n' }}{%- endif %}"
    if kind.start == "tools":
        yield "{%- for tool in tools or [] %}{{- tool | tojson + '\\n' }}{%- endfor %}"


def _system(kind: Kind) -> Iterator[str]:
    default = _quoted(DEFAULT_SYSTEM if kind.system == "default" else "")
    yield "{%- if messages and messages[0].role == 'system' %}{%- set turns = messages[1:] %}"
    if kind.system == "refused":
        yield "{{- raise_exception('there is no system here') }}"
    yield f"{{%- set m = messages[0] %}}{{%- set system = {_text(kind, 'system')} %}}"
    yield f"{{%- else %}}{{%- set turns = messages %}}{{%- set system = {default} %}}{{%- endif %}}"
    if kind.system in ("turn", "default"):
        header, close = _quoted(HEADERS[kind.header][0]), _quoted(kind.close.user)
        yield f"{{%- if system %}}{{{{- {header} + system + {close} }}}}{{%- endif %}}"
    if kind.system == "last user" or kind.style == "namespace":
        yield "{%- set ns = namespace(last=-1) %}{%- for m in turns %}{%- if m.role == 'user' %}"
        yield "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    if kind.style == "macro":
        yield "{%- macro wrap(text) %}{{- text }}{%- endmacro %}"


def _checks(kind: Kind, place: str) -> Iterator[str]:
    if kind.alternates:
        yield f"{{%- if (m.role == 'user') != ({place} % 2 == 0) %}}"
        yield "{{- raise_exception('roles must alternate') }}{%- endif %}"
    if kind.empty == "skipped":
        is_empty = f"not ({_text(kind, 'any')})" if not kind.trims else f"not ({_plain(kind)})"
        yield f"{{%- if {is_empty} %}}{{%- continue %}}{{%- endif %}}"


def _merged_system(kind: Kind, place: str) -> Iterator[str]:
    if kind.system == "first user":
        yield f"{{%- if system and {place} == 0 %}}{{{{- '<<' + system + '>>\\n' }}}}{{%- endif %}}"
    if kind.system == "last user":
        yield f"{{%- if system and {place} == ns.last %}}{{{{- '<<' + system + '>>\\n' }}}}"
        yield "{%- endif %}"


def _answer_lines(kind: Kind, is_last: str) -> Iterator[str]:
    yield f"{{%- set text = {_text(kind, 'assistant')} %}}{{%- set thought = '' %}}"
    yield f"{{%- set last = {is_last} %}}{{{{- {_quoted(HEADERS[kind.header][2])} }}}}"
    condition = {"raw": "false", "cut": "true", "cut before": "not last"}.get(kind.thoughts, "true")
    yield f"{{%- if '</think>' in text and {condition} %}}"
    yield "{%- set thought = text.split('</think>')[0].split('<think>')[-1].strip() %}"
    yield "{%- set text = text.split('</think>')[-1].lstrip() %}{%- endif %}"
    if kind.style == "generation":
        yield "{%- generation %}"
    if kind.thoughts == "block in last":
        yield "{%- if last %}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}"
    yield "{{- wrap(text) }}" if kind.style == "macro" else "{{- text }}"
    middle, end = _quoted(kind.close.middle), _quoted(kind.close.last)
    yield f"{{{{- {end} if last else {middle} }}}}"
    if kind.style == "generation":
        yield "{%- endgeneration %}"


def _plain(kind: Kind) -> str:
    """The text of any turn `m`, untrimmed."""
    in_parts = "(m.content | map(attribute='text') | join)"
    if kind.content in ("parts", "loop over parts"):
        return in_parts
    if kind.content == "user parts":
        return f"({in_parts} if m.role == 'user' else m.content)"
    return "m.content"


def _text(kind: Kind, role: str) -> str:
    """The text of a turn `m` of this role, as the template writes it."""
    plain = _plain(kind)
    if kind.content == "loop over parts" and role == "user":
        plain = "(m.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join)"
    return f"({plain} | trim)" if kind.trims else plain


def _quoted(text: str) -> str:
    escaped = text.replace("\n", "\\n").replace("'", "\\'")
    return f"'{escaped}'".replace(f"'{EOS}'", "eos_token")


FIRST = [
    Kind("chatml", "line", "turn", "raw", "bare", "text", "", "lines", "kept", False, False),
    Kind("tokens", "bare", "turn", "raw", "always", "text", "", "one line", "kept", False, False),
    Kind("tokens", "bare", "turn", "cut", "bare", "text", "bos", "lines", "kept", False, False),
    Kind(
        "chatml", "line", "turn", "block in last", "empty thought", "text", "", "lines", "kept",
        False, False,
    ),
    Kind("words", "none", "first user", "raw", "bare", "text", "", "lines", "kept", True, True),
    Kind("turn", "line", "refused", "raw", "bare", "text", "bos", "lines", "kept", True, True),
    Kind("tokens", "line", "turn", "raw", "bare", "loop over parts", "", "lines", "kept",
         False, False),
]  # fmt: skip


def kinds(count: int, seed: int = 12) -> list[Kind]:
    """The same `count` kinds every time; each way of each difference is among them."""
    draw = random.Random(seed)
    features = (HEADERS, ENDINGS, SYSTEMS, THOUGHTS, PROMPTS, CONTENTS, STARTS, STYLES, EMPTY)
    shuffled = [itertools.cycle(draw.sample(list(f), len(f))) for f in features]
    found = dict.fromkeys(FIRST)
    while len(found) < count:
        chosen = [next(ways) for ways in shuffled]
        for place in draw.sample(range(len(chosen)), 4):
            chosen[place] = draw.choice(list(features[place]))
        kind = Kind(*chosen, draw.random() < 0.3, draw.random() < 0.3)
        if _can_be(kind):
            found[kind] = None
    return list(found)


def _can_be(kind: Kind) -> bool:
    """Whether the ways fit together: a header in plain words, written always, leaves no sign of
    where an end of two tokens ends; and a conversation cannot end and go on."""
    goes_on = kind.prompt == "always"
    in_words = kind.header in ("words", "sections", "shout")
    return not (goes_on and (kind.close.after or (in_words and kind.ending == "a mark first")))
