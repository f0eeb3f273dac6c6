"""Mutations of good files: of bytes, of text, of JSON, of archives. The same numbers drawn from the
same generator give the same bytes. Knows nothing of who reads them."""

from __future__ import annotations

import copy
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[bytes, Sequence[bytes], Random], bytes]
"""Of a file's content, with the contents of other good files, by a generator."""

NUMBERS = [0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, 0.5, 10**9, 255, 65_536]
TEXTS = [
    "", " ", "x" * 100_000, "\0", "\ud800", "‮abc", "../../etc/passwd", "/dev/zero", "~",
    "{{ 9 * 9 }}", "NaN", "1e999", "-0", "true", "\r", "\u2028", "=1+1", "(a+)+$", "%s%n", "é" * 99,
]  # fmt: skip
LINES = [b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b'"', b",,,,", b"}" * 99, b"[" * 5_000]


def values(canary: str) -> list[Any]:
    """What a field may be turned into; some would touch the file `canary` where they were run."""
    touch = f"open({canary!r}, 'w')"
    deep: Any = 1
    for _ in range(60):
        deep = {"a": [deep]}
    return [
        *NUMBERS, *TEXTS, float("nan"), float("inf"), None, True, False, [], {}, [[]], [None] * 50,
        [1, "a", None], deep, list(range(10_000)), {"a": {"b": "c"}},
        f"{{{{ cycler.__init__.__globals__.os.popen('touch {canary}').read() }}}}",
        f"{{% for x in ().__class__.__base__.__subclasses__() %}}{{{{ x(open)('{canary}','w') }}}}"
        "{% endfor %}",
        f"!!python/object/apply:os.system ['touch {canary}']", f"$(touch {canary})",
        f"__import__('os').system('touch {canary}')", f"; touch {canary} #", touch,
        {"__reduce__": ["os.system", f"touch {canary}"]},
        {"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None],
         "AutoModelForCausalLM": "evil.Evil"},
        {"base_model_class": "Evil", "parent_library": "evil"},
    ]  # fmt: skip


def of_bytes(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """One to four cuts, flips, copies and splices."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        size = rng.choice([1, 2, 4, 8, 64, len(data) // 3])
        match rng.randrange(8):
            case 0:
                for _ in range(rng.randint(1, 8)):
                    if data:
                        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[place:]
            case 2:
                del data[place : place + size]
            case 3:
                data[place:place] = data[place : place + size] * rng.choice([1, 2, 50])
            case 4:
                data[place:place] = rng.randbytes(min(size, 64))
            case 5:
                number = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
                width = rng.choice([1, 2, 4, 8])
                order = rng.choice(["little", "big"])
                data[place : place + width] = (number % 256**width).to_bytes(width, order)
            case 6:
                other = rng.choice([*others, content])
                data[place : place + size] = other[rng.randrange(len(other) + 1) :][:size]
            case 7:
                data[place:place] = rng.choice(LINES)
    return bytes(data)


def of_lines(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Lines and cells dropped, doubled, swapped, merged and replaced."""
    lines = content.split(b"\n")
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                del lines[place : place + rng.choice([1, 1, 3])]
            case 1:
                lines[place:place] = [lines[place]] * rng.choice([1, 2_000])
            case 2:
                other = rng.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines.insert(place, rng.choice(LINES))
            case 4:
                lines[place] = rng.choice([*others, content]).split(b"\n")[0]
            case 5:
                cells = lines[place].split(b",")
                cells[rng.randrange(len(cells))] = _told(rng.choice([*NUMBERS, *TEXTS]))
                lines[place] = b",".join(cells)
            case 6:
                lines[place] = lines[place].replace(
                    rng.choice([b",", b'"', b"1", b" "]), rng.choice([b"", b"\t", b";", b'"'])
                )
        lines = lines or [b""]
    ending = rng.choice([b"\n", b"\n", b"\r\n", b"\r"])
    text = ending.join(lines)
    return rng.choice([b"", b"", b"", b"\xef\xbb\xbf"]) + text


def _told(value: Any) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


def of_json(canary: str) -> Mutation:
    """Keys removed, renamed, doubled; values of other types, huge, nested or hostile."""

    def mutate(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
        document = json.loads(content)
        for _ in range(rng.randint(1, 3)):
            document = _changed(document, others, rng, canary)
        text = json.dumps(document).encode()
        if rng.random() < 0.1:
            text = of_bytes(text, others, rng)
        if rng.random() < 0.03:
            deep = rng.choice([500, 100_000])
            text = text.replace(b":", b":" + b'{"a":' * deep + b"1" + b"}" * deep, 1)
        return text

    return mutate


def of_json_lines(canary: str) -> Mutation:
    """A line mutated as JSON, or the lines as text."""

    def mutate(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
        if rng.random() < 0.4:
            return of_lines(content, others, rng)
        lines = content.split(b"\n")
        for _ in range(rng.choice([1, 1, 5])):
            place = rng.randrange(len(lines))
            try:
                lines[place] = of_json(canary)(lines[place], [], rng)
            except (ValueError, RecursionError):  # a change before left no JSON
                lines[place] = of_bytes(lines[place], others, rng)
        return b"\n".join(lines)

    return mutate


def _changed(document: Any, others: Sequence[bytes], rng: Random, canary: str) -> Any:
    """The document with one change somewhere in it."""
    places = _places(document)
    if not places or rng.random() < 0.03:
        return rng.choice(values(canary))
    holder, key = rng.choice(places)
    match rng.randrange(7):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice([*TEXTS, "auto_map", "a"])] = holder.pop(key)
        case 2 if isinstance(holder[key], (int, float)):
            holder[key] = rng.choice([holder[key] * 1_000_003, -holder[key], holder[key] + 1])
        case 3 if len(str(holder[key])) < 1_000:
            holder[key] = [holder[key]] * rng.choice([2, 300])
        case 4:
            other, its = rng.choice(places)
            holder[key] = copy.deepcopy(other[its])
        case 5 if isinstance(holder, dict):
            auto = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
            more = {"auto_map": auto, "custom_generate": "evil", "use_kernels": True}
            holder |= more
        case _:
            holder[key] = rng.choice(values(canary))
    return document


def _places(document: Any, most: int = 3_000) -> list[tuple[Any, Any]]:
    """Each place of a document that can be changed: what holds it, and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(found) < most:
        holder = waiting.pop()
        if isinstance(holder, (dict, list)):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            found += [(holder, key) for key in keys]
            waiting += [holder[key] for key in keys]
    return found


def of_safetensors(canary: str) -> Mutation:
    """The header mutated as JSON, its length right or wrong; or the bytes."""

    def mutate(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
        if rng.random() < 0.3:
            return of_bytes(content, others, rng)
        (length,) = struct.unpack("<Q", content[:8])
        header = of_json(canary)(content[8 : 8 + length], [], rng)
        said = len(header) if rng.random() < 0.9 else rng.choice([0, 2**40, len(header) + 1])
        return struct.pack("<Q", said) + header + content[8 + length :]

    return mutate


def of_gzip(inner: Mutation) -> Mutation:
    """What is packed mutated; or the packed bytes; or packed twice; or much of one byte."""

    def mutate(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
        match rng.randrange(8):
            case 0:
                return of_bytes(content, others, rng)
            case 1:
                return gzip.compress(content)
            case 2:
                return gzip.compress(b"[" * 30_000_000, 1) + content
            case _:
                return gzip.compress(inner(gzip.decompress(content), [], rng), 1)

    return mutate


def of_zip(members: dict[str, Mutation]) -> Mutation:
    """A member mutated by the mutation for the end of its name, renamed, doubled or left out; or
    the archive's bytes."""

    def mutate(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
        if rng.random() < 0.3:
            return of_bytes(content, others, rng)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = [(info.filename, archive.read(info)) for info in archive.infolist()]
        place = rng.randrange(len(found))
        name, data = found[place]
        match rng.randrange(6):
            case 0:
                new = [
                    "../" + name,
                    "/" + name,
                    name + "\0x",
                    "a/b/" + name,
                    "evil.py",
                    "C:" + name,
                ]
                found[place] = (rng.choice(new), data)
            case 1:
                found.append((name, data[: len(data) // 2]))
            case 2:
                del found[place]
            case _:
                how = next((m for end, m in members.items() if name.endswith(end)), of_bytes)
                found[place] = (name, how(data, [], rng))
        return zipped(found, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))

    return mutate


def zipped(members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def of_png(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """A chunk mutated, its checksum right; or the bytes."""
    if rng.random() < 0.4:
        return of_bytes(content, others, rng)
    chunks, place = [], 8
    while place + 8 <= len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    chosen = rng.randrange(len(chunks))
    kind, data = chunks[chosen]
    chunks[chosen] = (kind, of_bytes(data, others, rng))
    if rng.random() < 0.2:
        chunks.insert(chosen, rng.choice(chunks))
    written = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return content[:8] + b"".join(written)
