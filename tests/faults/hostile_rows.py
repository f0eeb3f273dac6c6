"""Files of rows that cost far more than they weigh: each made in a folder, and what reading each
costs now.

    python -m tests.faults.hostile_rows     a table: bytes, seconds, peak memory, words
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HOSTILE: dict[str, Callable[[Path], None]] = {}
"""By the file's name: what writes it."""


def _packed(*pieces: tuple[bytes, int], level: int = 1) -> Callable[[Path], None]:
    """Pieces repeated, packed, a mebibyte at a time."""

    def write(path: Path) -> None:
        with gzip.open(path, "wb", compresslevel=level) as file:
            for piece, count in pieces:
                block = max(1, (1 << 20) // len(piece))
                for _ in range(count // block):
                    file.write(piece * block)
                file.write(piece * (count % block))

    return write


def _parquet(make: Callable[[], object], **options: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from pyarrow import parquet

        parquet.write_table(make(), path, compression="zstd", **options)

    return write


def _shared_text() -> object:
    import pyarrow

    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1_000), ["x" * 2_000_000])
    return pyarrow.table({"text": column})


def _constant() -> object:
    import pyarrow

    return pyarrow.table({"text": pyarrow.array(["a" * 10_000] * 40_000)})


def _long_cell() -> object:
    import pyarrow

    return pyarrow.table({"text": pyarrow.array(["a" * 400_000_000])})


def _empty_lists() -> object:
    import pyarrow

    offsets = pyarrow.array(range(8_000_001), pyarrow.int32())
    inner = pyarrow.ListArray.from_arrays(
        pyarrow.array([0] * 8_000_001, pyarrow.int32()), pyarrow.array([], pyarrow.int8())
    )
    whole = pyarrow.ListArray.from_arrays(pyarrow.array([0, 8_000_000], pyarrow.int32()), inner)
    return pyarrow.table({"text": whole, "n": offsets[:1]})


def _far_dates() -> object:
    import pyarrow

    return pyarrow.table({"text": ["a"], "at": pyarrow.array([2**62], pyarrow.timestamp("us"))})


def _deep_lists() -> object:
    import pyarrow

    kind, value = pyarrow.int8(), 1
    for _ in range(60):
        kind, value = pyarrow.list_(kind), [value]
    return pyarrow.table({"text": ["a"], "deep": pyarrow.array([value], kind)})


HOSTILE |= {
    "shared.parquet": _parquet(_shared_text),
    "constant.parquet": _parquet(_constant),
    "cell.parquet": _parquet(_long_cell, use_dictionary=False),
    "lists.parquet": _parquet(_empty_lists),
    "dates.parquet": _parquet(_far_dates),
    "deep.parquet": _parquet(_deep_lists),
    "lists.json": lambda path: path.write_bytes(b"[" + b"[]," * 10_000_000 + b"[]]"),
    "lists.json.gz": _packed((b"[", 1), (b"[],", 100_000_000), (b"[]]", 1)),
    "inner.json": lambda path: path.write_bytes(b"[[" + b"[]," * 5_000_000 + b"[]]]"),
    "objects.jsonl": lambda path: path.write_bytes(b"{}\n" * 10_000_000),
    "object.json": lambda path: path.write_bytes(b'{"a":[' + b"{}," * 10_000_000 + b"{}]}"),
    "values.jsonl": lambda path: path.write_bytes((b'{"x":[' + b"[]," * 300 + b"[]]}\n") * 30_000),
    "broken.jsonl": lambda path: path.write_bytes(b"{x\n" * 5_000_000),
    "deep.json": lambda path: path.write_bytes(b"[" * 1_000_000),
    "deep.jsonl": lambda path: path.write_bytes(b'{"a":' * 1_000_000 + b"\n{}\n"),
    "line.jsonl.gz": _packed((b'{"text": "', 1), (b"x", 500_000_000)),
    "twice.jsonl": lambda path: path.write_bytes(
        b"{" + b",".join(b'"a":1' for _ in range(400_000)) + b"}\n{}\n"
    ),
    "line.csv": lambda path: path.write_bytes(b"text\n" + b"x" * 100_000_000),
    "columns.csv": lambda path: path.write_bytes(b"a," * 1_000_000 + b"\n"),
    "quote.csv": lambda path: path.write_bytes(b'text\n"' + b"x\n" * 20_000_000),
    "nul.csv": lambda path: path.write_bytes(b"text\n" + bytes(1_000_000)),
    "bomb.txt.gz": _packed((b"\n", 2_000_000_000), level=9),
    "twice.jsonl.gz": lambda path: path.write_bytes(gzip.compress(gzip.compress(b"{}\n" * 999))),
    "cut.jsonl.gz": lambda path: path.write_bytes(gzip.compress(os.urandom(99_999))[:5_000]),
    "zip.jsonl": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(999)),
    "latin.jsonl": lambda path: path.write_bytes(b'{"text": "caf\xe9"}\n' * 99),
    "wide.jsonl": lambda path: path.write_bytes('{"text": "a"}\n{"text"'.encode("utf-16")[:-1]),
}


def read_in_a_fork(path: Path) -> dict[str, object]:
    """How reading the file ends in a fork of this process, what it takes, and the peak memory of
    the reading process, without the guarded ones that it asks: they have a limit of their own."""
    from lora_engine.data.sources import load_file
    from lora_engine.errors import EngineError

    answer, said = os.pipe()
    child = os.fork()
    if child == 0:
        started = time.monotonic()
        try:
            rows = len(load_file(path, "auto", path.name).rows)
            ended = f"accepted: {rows:,} rows"
        except EngineError as error:
            ended = f"refused: {error}"
        except BaseException as error:  # noqa: BLE001 - a fork never returns
            ended = f"crashed: {error!r}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = time.monotonic() - started
        os.write(said, json.dumps([ended[:2_000], seconds, peak / 1024]).encode())
        os._exit(0)
    os.close(said)
    with open(answer, "rb") as pipe:
        words = pipe.read()
    _, status = os.waitpid(child, 0)
    died = [f"died: {os.waitstatus_to_exitcode(status)}", 0.0, 0.0]
    ended, seconds, peak = json.loads(words) if words else died
    return {"ended": ended, "seconds": seconds, "peak_mib": peak}


def write(name: str, path: Path) -> None:
    """Make one of the files, in a fork: the memory that it takes is not that of reading it."""
    child = os.fork()
    if child == 0:
        try:
            HOSTILE[name](path)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def main(names: list[str]) -> None:
    print(f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or HOSTILE:
            path = Path(folder) / name
            write(name, path)
            found = read_in_a_fork(path)
            size = path.stat().st_size / 1e6
            print(
                f"{name:17} {size:8.2f} MB {found['seconds']:6.2f} s {found['peak_mib']:6.0f} MiB  "
                f"{str(found['ended'])[:150]}",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
