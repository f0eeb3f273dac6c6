"""A seeded order of many things, the same wherever and whenever it is asked for.

Up to a million things it is the order that Python's `random` shuffles a list into, as it always
was. More take NumPy's `RandomState` (MT19937, whose stream is frozen, NEP 19), seeded with the
SHA-256 of the seed: a list of ten million Python numbers would need 0.4 GB and 6 s.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_SHUFFLED = 1_000_000


def shuffled(count: int, seed: int | str) -> np.ndarray:
    """0 to `count` - 1 in an order that the seed decides, shape (count,)."""
    import numpy as np

    if count > MOST_SHUFFLED:
        return _permutation(count, seed)
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return np.array(order, np.int64)


def sampled(count: int, wanted: int, seed: int | str) -> np.ndarray:
    """`wanted` of the numbers 0 to `count` - 1, drawn without replacement, in a drawn order."""
    import numpy as np

    if count > MOST_SHUFFLED:
        return _permutation(count, seed)[:wanted]
    return np.array(random.Random(seed).sample(range(count), wanted), np.int64)


def _permutation(count: int, seed: int | str) -> np.ndarray:
    import numpy as np

    words = np.frombuffer(hashlib.sha256(str(seed).encode()).digest(), np.uint32)
    return np.random.RandomState(words).permutation(count)
