"""How much of an untrusted file is read. Every bound of `lora_engine.weights` stands here.

The bounds admit every weight of today's open models (an embedding of 262,144 x 5,376 numbers
is the largest we know) and refuse what can only be a mistake or an attack.
"""

from __future__ import annotations

MIB = 2**20

MAX_SIDE = 524_288
"""Rows, or columns, of one matrix."""

MAX_STREAMED_ELEMENTS = 2**32
"""Numbers in one matrix that stays in its file and is read in blocks."""

MAX_MEMORY_ELEMENTS = 2**26
"""Numbers in one matrix or tensor held in memory as a whole (512 MiB in float64)."""

MAX_DIMENSIONS = 8

MAX_HEADER_BYTES = 10 * MIB
MAX_TENSORS = 20_000
MAX_INDEX_BYTES = 10 * MIB
MAX_SHARDS = 1_000
MAX_NAME_LENGTH = 1_000

MAX_ARCHIVE_ENTRIES = 1_000
MAX_ARCHIVE_BYTES = 512 * MIB
MAX_ARCHIVE_RATIO = 100
RATIO_FREE_BYTES = 16 * MIB
"""An archive that unpacks to less than this may be packed as tightly as it likes."""

MAX_CSV_BYTES = 128 * MIB
MAX_CSV_LINE_BYTES = MIB
MAX_CSV_ROWS = 100_000
MAX_CSV_COLUMNS = 20_000
MAX_CSV_ELEMENTS = 2**24

MAX_PIXELS = 25_000_000

MAX_PICKLE_BYTES = 512 * MIB
PICKLE_SECONDS, PICKLE_BYTES_A_SECOND = 4, 64 * MIB
"""Of processor time that reading a pickle may take: at least, and how much of it a second."""
PICKLE_MEMORY_BYTES, PICKLE_MEMORY_TIMES = 128 * MIB, 3
"""Address space that may be added beyond what torch itself maps: at least, and how often the file's
size beside that."""
MAX_LISTING_BYTES = 32 * MIB
