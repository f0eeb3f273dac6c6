"""PEFT's patterns for module names, matched as PEFT matches them, in bounded time.

A key of rank_pattern or alpha_pattern is a regular expression to PEFT (`get_pattern_key`:
`re.match(rf"(.*\\.)?({key})$", name)`, the first key that matches wins), nearly always a plain
name. Plain names are compared as text; other keys are matched under a limit of time. This module
knows nothing of configurations and ranks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

from lora_engine.errors import EngineError
from lora_engine.language import tr

MAX_KEY_LENGTH = 2_000
MAX_TARGET_LENGTH = 100_000  # some trainers write every module's name into one pattern
MATCH_S = 2.0

_PLAIN = re.compile(r"(?P<start>\^|\.\*\\?\.)?(?P<name>(?:[A-Za-z0-9_\-.]|\\[.\-])+)\$?")
_REPEATS = re.compile(r"[*+]|\{\d*,?\d*\}")


def check_target_pattern(text: str) -> str:
    """A pattern that is kept and never run. Raises ValueError for one that could never end."""
    if not text or len(text) > MAX_TARGET_LENGTH:
        raise ValueError(tr("a pattern has 1 to {most} characters", most=f"{MAX_TARGET_LENGTH:,}"))
    if repeats_a_repetition(text):
        raise ValueError(tr("a pattern must not repeat a repetition, whose matching may never end"))
    return text


def check_pattern_key(text: str) -> str:
    """A key of a pattern. Raises ValueError for one that is no sound regular expression."""
    if not text or len(text) > MAX_KEY_LENGTH:
        raise ValueError(tr("a key has 1 to {most} characters", most=f"{MAX_KEY_LENGTH:,}"))
    if not _PLAIN.fullmatch(text):
        check_target_pattern(text)
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(
                tr("no sound regular expression ({error})", error=str(error)[:100])
            ) from None
    return text


def repeats_a_repetition(pattern: str) -> bool:
    """Whether a group that holds a repetition is repeated itself, as in (a+)+."""
    holds = [False]  # of each open group: whether it holds a repetition
    closed = False  # whether what was just read is a group that holds one
    place = 0
    while place < len(pattern):
        character = pattern[place]
        repetition = _REPEATS.match(pattern, place)
        if character == "(":
            holds.append(False)
            place += 2 if pattern[place + 1 : place + 2] == "?" else 1
            closed = False
        elif character == ")" and len(holds) > 1:
            closed = holds.pop()
            holds[-1] |= closed
            place += 1
        elif repetition:
            if closed:
                return True
            holds[-1] = True
            place = repetition.end()
        else:
            place = _after_one(pattern, place)
            closed = False
    return False


def _after_one(pattern: str, place: int) -> int:
    """Where an escape, a set of characters or one character ends."""
    if pattern[place] == "\\":
        return place + 2
    if pattern[place] != "[":
        return place + 1
    end = place + (3 if pattern[place + 1 : place + 2] == "^" else 2)  # a first ] is a character
    while end < len(pattern) and pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1


class PatternKeys:
    """The keys of one pattern, in their order; a module's key is the first that matches."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._whole: dict[str, int] = {}
        self._endings: dict[str, int] = {}
        self._below: dict[str, int] = {}  # endings that something must stand before
        self._others: list[tuple[int, str]] = []
        for place, key in enumerate(self._keys):
            self._sort(place, key)

    def _sort(self, place: int, key: str) -> None:
        plain = _PLAIN.fullmatch(key)
        if plain is None:
            self._others.append((place, key))
            return
        name = plain["name"].replace("\\", "")
        if plain["start"] == "^":
            self._whole.setdefault(name, place)
        elif plain["start"]:
            self._below.setdefault(name, place)
        else:
            self._endings.setdefault(name, place)

    def key_of(self, name: str) -> str | None:
        """The first key that matches a module's name, or None."""
        return self.keys_of([name])[name]

    def keys_of(self, names: Iterable[str]) -> dict[str, str | None]:
        """Each name's first key. Raises EngineError where matching takes too long."""
        deadline = time.monotonic() + MATCH_S
        found: dict[str, str | None] = {}
        for name in names:
            place = self._place_of(name, deadline)
            found[name] = None if place is None else self._keys[place]
        return found

    def _place_of(self, name: str, deadline: float) -> int | None:
        places = [self._whole[name]] if name in self._whole else []
        pieces = name.split(".")
        for start in range(len(pieces)):
            ending = ".".join(pieces[start:])
            if ending in self._endings:
                places.append(self._endings[ending])
            if start and ending in self._below:
                places.append(self._below[ending])
        first = min(places, default=None)
        for place, key in self._others:
            if first is not None and place > first:
                break
            if _matches(key, name, deadline):
                return place
        return first


def as_peft_key(key: str, names: Sequence[str]) -> str:
    """The key as a regular expression that only compares text, for PEFT to run.

    names: the modules whose key this is, which stand for a key that is no plain name.
    """
    plain = _PLAIN.fullmatch(key)
    if plain is None:
        return f"^(?:{'|'.join(re.escape(name) for name in names)})"
    name = re.escape(plain["name"].replace("\\", ""))
    start = plain["start"] or ""
    return {"": "", "^": "^"}.get(start, r".*\.") + name


def _matches(key: str, name: str, deadline: float) -> bool:
    import regex  # as `re`, with a limit of time

    left = deadline - time.monotonic()
    try:
        if left <= 0:
            raise TimeoutError
        return regex.match(rf"(.*\.)?({key})$", name, timeout=left) is not None
    except TimeoutError:
        raise EngineError(
            tr(
                "Matching the pattern {key} with the adapter's modules takes longer than "
                "{match_s} s.",
                key=f"{key[:100]!r}",
                match_s=f"{MATCH_S:g}",
            ),
            tr("Write the modules' names, or the ends of their names, in place of the pattern."),
        ) from None
    except regex.error as error:
        raise EngineError(
            tr(
                "The pattern {key} cannot be matched: {error}.",
                key=f"{key[:100]!r}",
                error=str(error)[:100],
            ),
            tr("Write the modules' names, or the ends of their names, in place of the pattern."),
        ) from None
