"""What is wrong between rows: repeats, near repeats, contradictions, one answer for everything.

Rows are compared by digests of 64 bits, so a set's texts are never held. Knows no tokens.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterator

from lora_engine.data.checks.findings import FindingKind
from lora_engine.data.checks.single_rows import Problem, answer_of, question_of
from lora_engine.data.rows import Row
from lora_engine.data.twins import content_key

MOST_COMPARED = 1_000_000  # rows; their digests take some 300 bytes each
SAME_ANSWER_SHARE = 0.5
SAME_ANSWER_ROWS = 20
RARE_CLASS_ROWS = 5
# What two texts may differ in and still say the same; a point or comma within a number stays.
PUNCTUATION = re.compile(r"[;:!?…'\"“”‘’()\[\]。，！？；：、]+|(?<!\d)[.,]+|[.,]+(?!\d)")


class RowComparison:
    """Rows come one after another; each is compared with all before it."""

    def __init__(self) -> None:
        self._contents: set[int] = set()
        self._near: set[int] = set()
        self._answer_of: dict[int, int] = {}
        self._answers = array("Q")

    @property
    def rows(self) -> int:
        """How many rows were compared."""
        return len(self._answers)

    def problems_of(self, row: Row) -> Iterator[Problem]:
        """What is wrong with this row beside those before it; nothing beyond MOST_COMPARED."""
        if self.rows >= MOST_COMPARED:
            return
        question, answer = question_of(row), _digest(_plain_text(answer_of(row)))
        shown = question or row.text or " ".join(row.words)
        content, near = int.from_bytes(content_key(row)[:8]), near_key(row)
        if content in self._contents:
            yield FindingKind.DUPLICATE, shown
        elif near in self._near:
            yield FindingKind.NEAR_DUPLICATE, shown
        self._contents.add(content)
        self._near.add(near)
        self._answers.append(answer)
        if not question.strip() or row.is_desirable is not None:  # judged ones differ by design
            return
        if self._answer_of.setdefault(_digest(_plain_text(question)), answer) != answer:
            yield FindingKind.CONTRADICTION, shown

    def rows_with_the_common_answer(self) -> list[int]:
        """Places of the rows that share one answer, where that is most of them; no answer is
        none."""
        if not self._answers:
            return []
        answer, count = Counter(self._answers).most_common(1)[0]
        if (
            answer == NO_ANSWER
            or count < SAME_ANSWER_ROWS
            or count <= SAME_ANSWER_SHARE * self.rows
        ):
            return []
        return [place for place, one in enumerate(self._answers) if one == answer]

    def rows_with_a_rare_answer(self) -> list[int]:
        """Places of the rows whose answer, for rows to classify their class, few others have."""
        counts = Counter(self._answers)
        return [p for p, answer in enumerate(self._answers) if counts[answer] < RARE_CLASS_ROWS]


def near_key(row: Row) -> int:
    """A digest that rows share which differ in case, spaces and punctuation alone.

    A row to classify is told by its text alone, as the split tells twins.
    """
    turns = [
        f"{turn.role} {_plain_text(f'{turn.reasoning} {turn.content} {turn.tool_calls}')}"
        for turn in (*row.messages, *row.rejected)
    ]
    texts = (row.text or "", " ".join(row.words), row.tools)
    return _digest("\n".join([*turns, *map(_plain_text, texts)]))


def _plain_text(text: str) -> str:
    plain = " ".join(PUNCTUATION.sub(" ", text.casefold()).split())
    return plain or " ".join(text.split())


def _digest(text: str) -> int:
    encoded = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest())


NO_ANSWER = _digest("")
