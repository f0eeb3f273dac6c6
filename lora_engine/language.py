"""The language of what a person reads: English, or one that has a catalogue under `locale/`.

A text stands in the code in English, inside `tr`, where it is shown: `tr("{count} rows", count=3)`.
One that is named before anybody reads it (a constant, a table) is `translatable` there and goes
through `tr` where it is shown. A catalogue is a folder of gettext's .po files, one for each
package; they are made by `python docs/make_catalogue.py`, which finds the texts by these names, and
read with babel. A text without a translation is shown in English.

A text that is written to a file now and read in another language later is said while `remembering`
and kept with its `sayings_of`; `said_again` says it in the language of the reader.

Knows no text and no page. The language is that of the thread's present work: the dashboard sets it
for every handler, and what starts a thread hands it on (`contextvars.copy_context`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

CATALOGUES = Path(__file__).parent / "locale"
ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "zh": "中文"}

REMEMBERED = 1_000
"""How many texts are remembered at most: the newest."""


@dataclass(frozen=True)
class Saying:
    """How a text was made: the message as it stands in the code, and what is in its places."""

    message: str
    values: Mapping[str, str] = field(default_factory=dict)


_language: ContextVar[str] = ContextVar("language", default=ENGLISH)
_remembered: ContextVar[dict[str, Saying] | None] = ContextVar("remembered", default=None)


def language() -> str:
    """The language of the present work: a key of LANGUAGES."""
    return _language.get()


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """What is said inside the block is said in this language. Raises KeyError for another."""
    LANGUAGES[chosen]
    token = _language.set(chosen)
    try:
        yield
    finally:
        _language.reset(token)


def tr(message: str, /, **values: object) -> str:
    """The text in the present language, `{name}` replaced by the value of that name.

    message: the English text as a literal, or one that was made `translatable`. Without values it
    is taken as it stands, braces included.
    """
    text = _translations(language()).get(message, message)
    said = text.format(**values) if values else text
    remembered = _remembered.get()
    if remembered is not None:
        _remember(remembered, said, Saying(message, {key: str(v) for key, v in values.items()}))
    return said


def tr_count(one: str, several: str, count: int, /, **values: object) -> str:
    """`one` or `several` by English's rule, in the present language; `{count}` has separators."""
    return tr(one if count == 1 else several, **{"count": f"{count:,}", **values})


def translatable(message: str) -> str:
    """The text as it is: the catalogue takes it up, and `tr` translates it where it is shown."""
    return message


@contextmanager
def remembering() -> Iterator[None]:
    """How the texts that are said inside the block were made is known there to `sayings_of`."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def sayings_of(texts: Iterable[str]) -> dict[str, Saying]:
    """How each of these texts was made, and each text in its places; without those not known."""
    remembered = _remembered.get() or {}
    found: dict[str, Saying] = {}
    waiting = list(texts)
    while waiting:
        text = waiting.pop()
        if text in remembered and text not in found:
            found[text] = remembered[text]
            waiting += remembered[text].values.values()
    return found


def said_again(text: str, sayings: Mapping[str, Saying]) -> str:
    """A text that was kept in English, in the present language; as it is where nothing is known.

    sayings: those that were kept with it. They may come from a file that somebody changed, so a
    message counts only if a catalogue has it.
    """
    saying = sayings.get(text, Saying(text))
    if saying.message not in _translations(language()):
        return text
    inner = {key: value for key, value in sayings.items() if key != text}
    values = {key: said_again(value, inner) for key, value in saying.values.items()}
    try:
        return tr(saying.message, **values)
    except (KeyError, IndexError, ValueError):
        return text


def preferred(accept_language: str) -> str:
    """Which of LANGUAGES a browser's header Accept-Language asks for first (RFC 9110, 12.5.4).

    'zh-CN,zh;q=0.9,en;q=0.8' -> 'zh'. English where it names none, or is no such header.
    """
    weighed = [_weighed(part) for part in accept_language[:1_000].split(",")]
    known = [(weight, name) for weight, name in weighed if name in LANGUAGES and weight > 0]
    return max(known, key=lambda one: one[0], default=(0.0, ENGLISH))[1]


def _weighed(part: str) -> tuple[float, str]:
    """'zh-CN;q=0.9' -> (0.9, 'zh'); a weight that is no number counts as none."""
    tag, _, weight = part.partition(";")
    name = tag.strip().lower().split("-")[0]
    try:
        return float(weight.strip().removeprefix("q=") or 1), name
    except ValueError:
        return 0.0, name


def _remember(remembered: dict[str, Saying], said: str, saying: Saying) -> None:
    remembered.pop(said, None)
    remembered[said] = saying
    if len(remembered) > REMEMBERED:
        del remembered[next(iter(remembered))]


@cache
def _translations(name: str) -> Mapping[str, str]:
    """Every translated text of a language by its English."""
    if name == ENGLISH:
        return {}
    from babel.messages.pofile import read_po

    texts: dict[str, str] = {}
    for path in sorted((CATALOGUES / name).glob("*.po")):
        with path.open("rb") as file:
            catalogue = read_po(file, locale=name, abort_invalid=True)
        texts.update({str(one.id): str(one.string) for one in catalogue if one.id and one.string})
    return texts
