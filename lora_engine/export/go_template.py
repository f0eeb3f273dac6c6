"""A chat template in Go's template language, derived from what the Jinja template writes.

    text = start + [head, or the system turn] + turns + generation prompt
    turn = prefix of its role + content + suffix of its role

The pieces are read off a few renderings with marked contents, and then proven: on sample
conversations the pieces must give the very text that the Jinja template gives, up to where the
answer begins. A template that is not of this kind is refused with the conversation it differs on.
Ollama's part is `ollama`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lora_engine.data import ChatTemplate, Message
from lora_engine.data.templates import Conversation, render
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable

QUESTION, ANSWER, AGAIN, SYSTEM = (f"MARKED{number}CONTENT" for number in range(4))
SAMPLES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", "Why is the sky blue?"),),
    (("user", "One.\n\nTwo."), ("assistant", "Three:\n- four"), ("user", "Fünf? 六")),
    (("system", "Be brief."), ("user", "Hello")),
    (
        ("system", "Two\nlines."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c {d}"),
        ("assistant", "e"),
        ("user", "f"),
    ),
)
REMEDY = translatable(
    "Write the TEMPLATE by hand, or serve the model with its own Jinja template (vLLM)."
)


@dataclass(frozen=True)
class Turn:
    """What stands before and after a role's content."""

    prefix: str
    suffix: str


@dataclass(frozen=True)
class TurnTemplate:
    """The pieces. head: in place of a system turn where there is none. system: None where the
    template takes no system turn. trims: it strips spaces around contents, which Go's does not."""

    start: str
    head: str
    system: Turn | None
    user: Turn
    assistant: Turn
    generation: str
    trims: bool = False

    def text(self, turns: Sequence[tuple[str, str]]) -> str:
        """A conversation (role, content) up to where the answer begins."""
        pieces = {"user": self.user, "assistant": self.assistant, "system": self.system}
        head = "" if turns[0][0] == "system" else self.head
        body = "".join(
            f"{piece.prefix}{content}{piece.suffix}"
            for role, content in turns
            if (piece := pieces[role]) is not None
        )
        return f"{self.start}{head}{body}{self.generation}"

    def to_go(self) -> str:
        """The source for Go, over .Messages and .System. Raises EngineError for a text that would
        be read as code."""
        branches = [("user", self.user), ("assistant", self.assistant)]
        if self.system is not None:
            branches.insert(0, ("system", self.system))
        chosen = "".join(
            f'{{{{ {"else " if number else ""}if eq .Role "{role}" }}}}'
            f"{_literal(turn.prefix)}{{{{ .Content }}}}{_literal(turn.suffix)}"
            for number, (role, turn) in enumerate(branches)
        )
        head = f"{{{{ if not .System }}}}{_literal(self.head)}{{{{ end }}}}" if self.head else ""
        turns = f"{{{{ range .Messages }}}}{chosen}{{{{ end }}}}{{{{ end }}}}"
        return f"{_literal(self.start)}{head}{turns}{_literal(self.generation)}"


def derive(template: ChatTemplate) -> TurnTemplate:
    """The pieces of a chat template, proven on the sample conversations.

    Raises EngineError where it is of another kind, naming the conversation it differs on.
    """
    one = ((("user", QUESTION)),)
    two = (*one, ("assistant", ANSWER), ("user", AGAIN))
    spaced = (("user", f"  {QUESTION}  "),)
    texts = _render(template, [one, two, (("system", SYSTEM), *one), spaced])
    found = _pieces(template, texts)
    found = replace(found, trims=f"  {QUESTION}  " not in texts[3])
    samples = [turns for turns in SAMPLES if found.system or turns[0][0] != "system"]
    for turns, text in zip(samples, _render(template, samples), strict=True):
        if found.text(turns) != text:
            raise _other_kind(
                tr("it differs for the roles {roles}", roles=", ".join(role for role, _ in turns))
            )
    return found


def _pieces(template: ChatTemplate, texts: Sequence[str]) -> TurnTemplate:
    single, several, with_system, _ = texts
    before, after = _split(single, QUESTION)
    opening, between, second, last = _split(several, QUESTION, ANSWER, AGAIN)
    bos = template.variables.get("bos_token", "")
    start = bos if bos and before.startswith(bos) else ""
    before, opening = before.removeprefix(start), opening.removeprefix(start)
    if (opening, last) != (before, after):
        raise _other_kind(tr("its first turn changes with the turns after it"))
    prefix = _common_ending(before, second)
    ending = second.removesuffix(prefix)
    suffix = ending if between.startswith(ending) and after.startswith(ending) else ""
    suffix = suffix or os.path.commonprefix([between, after])
    return TurnTemplate(
        start=start,
        head=before.removesuffix(prefix),
        system=_system(with_system, start, prefix, after),
        user=Turn(prefix, suffix),
        assistant=Turn(between.removeprefix(suffix), ending),
        generation=after.removeprefix(suffix),
    )


def _system(text: str, start: str, user_prefix: str, after: str) -> Turn | None:
    """The system turn; None where the template failed on it."""
    if not text:
        return None
    before, between, last = _split(text, SYSTEM, QUESTION)
    if not (before.startswith(start) and between.endswith(user_prefix) and last == after):
        raise _other_kind(tr("its system turn is written into another turn"))
    return Turn(before.removeprefix(start), between.removesuffix(user_prefix))


def _render(
    template: ChatTemplate, conversations: Sequence[Sequence[tuple[str, str]]]
) -> list[str]:
    """Texts up to where the answer begins; empty where the template fails on a system turn."""
    return render(
        template,
        [
            Conversation(
                number,
                tuple(Message(role, content) for role, content in turns),
                add_generation_prompt=True,
                may_fail=turns[0][0] == "system",
            )
            for number, turns in enumerate(conversations, 1)
        ],
    )


def _split(text: str, *marks: str) -> list[str]:
    """The text around the marks. Raises EngineError where each is not there once, in order."""
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise _other_kind(tr("it does not write every content once, in order"))
        pieces.append(before)
    return [*pieces, text]


def _common_ending(one: str, other: str) -> str:
    return os.path.commonprefix([one[::-1], other[::-1]])[::-1]


def _literal(text: str) -> str:
    if "{{" in text or "}}" in text or '"""' in text:
        raise _other_kind(
            tr(
                "it writes {text}, which Go or the Modelfile would read as code",
                text=f"{text[:60]!r}",
            )
        )
    return text


def _other_kind(why: str) -> EngineError:
    return EngineError(
        tr(
            "The chat template cannot be written in Go's template language faithfully: {why}.",
            why=why,
        ),
        tr(REMEDY),
    )
