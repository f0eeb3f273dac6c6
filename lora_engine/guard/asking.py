"""A function called in a process of its own, whose memory, processor time and output are bounded.

The process is a fork of one that is started when it is first needed (`forking`), so a call costs
a few milliseconds. What comes back is JSON or plain bytes, never a pickle. Knows nothing of what
the functions do.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import IO, Any

from lora_engine import errors
from lora_engine.errors import EngineError
from lora_engine.language import language, tr

MOST_STATUS_BYTES = 1 << 20
_ROOT = Path(__file__).parents[2]
_START = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from lora_engine.guard.forking import serve; serve(int(sys.argv[2]))"
)
_LENGTH = struct.Struct("<Q")


class OutOfBounds(Exception):
    """The call was ended. kind: `time`, `memory`, `output`, or `broken` where the process died of
    something else. Its text says so to the person, as the end of a sentence."""

    def __init__(self, kind: str, words: str) -> None:
        self.kind = kind
        super().__init__(words)


def run_guarded(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    *,
    seconds: float,
    memory_bytes: int,
    output_bytes: int = 1 << 20,
    libraries: Sequence[str] = (),
) -> Any:
    """What `function(*arguments)` gives back, as JSON holds it.

    function: of a module's own, not a method. seconds: of processor time. memory_bytes: beyond what
    the process has when the libraries are imported, which happens before the limits hold.
    Raises what the function raises of EngineError, OutOfBounds, and RuntimeError with the traceback
    for every other exception, which is a bug.
    """
    frames = _frames(function, arguments, seconds, memory_bytes, output_bytes, libraries, False)
    with closing(frames):
        return json.loads(b"".join(frames))


def stream_guarded(
    function: Callable[..., Iterator[Any]],
    arguments: Sequence[Any],
    *,
    seconds: float,
    memory_bytes: int,
    output_bytes: int = 1 << 20,
    libraries: Sequence[str] = (),
) -> Generator[bytes, None, None]:
    """Every piece that `function(*arguments)` yields, bytes or a buffer, as they are asked for.

    seconds and output_bytes are those of one piece. Raises as `run_guarded`.
    """
    return _frames(function, arguments, seconds, memory_bytes, output_bytes, libraries, True)


def _frames(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    seconds: float,
    memory_bytes: int,
    output_bytes: int,
    libraries: Sequence[str],
    is_stream: bool,
) -> Generator[bytes, None, None]:
    request = {
        "module": function.__module__,
        "function": function.__qualname__,
        "seconds": seconds,
        "memory_bytes": memory_bytes,
        "libraries": list(libraries),
        "language": language(),
        "is_stream": is_stream,
    }
    with ExitStack() as opened:
        given, asked = _pipe(opened)
        data, data_end = _pipe(opened)
        status, status_end = _pipe(opened)
        _ask(request, (given, data_end, status_end))
        for theirs in (given, data_end, status_end):
            theirs.close()
        _give(asked, pickle.dumps(tuple(arguments)))
        while head := data.read(_LENGTH.size):
            size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
            if size > output_bytes:
                raise OutOfBounds(
                    "output", tr("it gives more than {size} bytes", size=f"{output_bytes:,}")
                )
            piece = data.read(size)
            if len(head) < _LENGTH.size or len(piece) < size:
                break
            yield piece
        _raise_as(status.read(MOST_STATUS_BYTES), seconds, memory_bytes)


def _pipe(opened: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """The ends of a pipe to read from and to write to."""
    read, write = os.pipe()
    return opened.enter_context(open(read, "rb")), opened.enter_context(open(write, "wb", 0))


def _give(pipe: IO[bytes], content: bytes) -> None:
    """Write all of it and close; a process that has ended says in its status why."""
    try:
        view = memoryview(content)
        while view:
            view = view[pipe.write(view) or 0 :]
        pipe.close()
    except BrokenPipeError:
        pass


def _raise_as(status: bytes, seconds: float, memory_bytes: int) -> None:
    """Raises what the process's last words are, unless they say that it is done."""
    try:
        said = json.loads(status)
    except ValueError:
        said = {"end": "broken"}
    end = said["end"]
    if end == "refused":
        kind = getattr(errors, said["kind"], EngineError)
        raise (kind if kind is errors.NotFound else EngineError)(said["problem"], said["remedy"])
    if end == "bug":
        raise RuntimeError(f"a guarded function failed:\n{said['traceback']}")
    if end != "done":
        raise OutOfBounds(end, _words(end, seconds, memory_bytes))


def _words(kind: str, seconds: float, memory_bytes: int) -> str:
    if kind == "time":
        return tr("reading it takes over {seconds} s of processor time", seconds=f"{seconds:g}")
    if kind == "memory":
        return tr("reading it takes over {size} MiB of memory", size=f"{memory_bytes >> 20:,}")
    return tr("its reader broke off")


def _ask(request: dict[str, Any], ends: Sequence[IO[bytes]]) -> None:
    """Hand the request over; a forking process that has gone meanwhile is started anew."""
    message = json.dumps(request).encode()
    descriptors = [end.fileno() for end in ends]
    try:
        _forking(os.getpid()).ask(message, descriptors)
    except OSError:
        _forking.cache_clear()
        _forking(os.getpid()).ask(message, descriptors)


class _Forking:
    """The process that forks, and the socket to it. It ends by itself when nobody asks it."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "RAYON_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "HF_HUB_OFFLINE": "1",
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS: it forks with libraries loaded
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, str(_ROOT), str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def ask(self, message: bytes, descriptors: list[int]) -> None:
        """Raises OSError where the process has ended."""
        with self._one_at_a_time:
            if self._process.poll() is not None:
                raise BrokenPipeError
            socket.send_fds(self._socket, [_LENGTH.pack(len(message))], descriptors)
            self._socket.sendall(message)


@cache
def _forking(_pid: int) -> _Forking:
    """Of this very process: a fork of it has one of its own."""
    return _Forking()
