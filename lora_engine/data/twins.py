"""Rows that say the same: the digest that they share.

Two rows are twins when they say the same: equal turns or equal text, white space and Unicode
spelling (NFC) aside. Rows to classify are twins when their texts or words are equal, whatever
their class, and rows that judge an answer whatever their verdict. Rows that share a question and
differ in the answer are no twins: many sets mean it so. Knows nothing of files or of tokens.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lora_engine.data.rows import Row

if TYPE_CHECKING:
    import numpy as np

SHORT_BYTES = 8


def keys_of(rows: Iterable[Row]) -> np.ndarray:
    """8 bytes of each row's key, as unsigned numbers.

    Among ten million rows two that differ share these by chance in 3 of a million sets.
    """
    import numpy as np

    return np.frombuffer(b"".join(content_key(row)[:SHORT_BYTES] for row in rows), np.uint64)


def first_twins(keys: np.ndarray) -> np.ndarray:
    """For each row, the place of the first row with its key."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = in_order[1:] != in_order[:-1]
    firsts = np.empty(len(keys), np.int64)
    firsts[order] = order[begins][np.cumsum(begins) - 1]
    return firsts


def content_key(row: Row) -> bytes:
    """A digest that twins share."""
    turns = [
        (turn.role, *map(_plain, (turn.content, turn.reasoning, turn.tool_calls, turn.extra)))
        for turn in (*row.messages, *row.rejected)
    ]
    content = [turns, _plain(row.text or ""), [_plain(word) for word in row.words]]
    content += [_plain(row.tools)]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()


def _plain(text: str) -> str:
    """A text without what does not bear on its meaning: white space and Unicode's spelling."""
    joined = " ".join(text.split())
    return joined if joined.isascii() else unicodedata.normalize("NFC", joined)
