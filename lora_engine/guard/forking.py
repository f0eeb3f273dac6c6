"""The process that forks a child for each guarded call, and what such a child does.

It holds no secret of the server's environment, runs one thread, and ends when nobody has asked it
for a while. Each call has two forks: a keeper, which waits and says how it ended, and the worker,
which sets its limits and calls the function.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from typing import Any

from lora_engine.errors import EngineError
from lora_engine.language import speaking
from lora_engine.operating_system import limit_memory, wait_for_child

IDLE_S = 120
KEPT = {"pyarrow.parquet", "tokenizers", "jinja2", "torch", "transformers.modeling_utils"}
"""Libraries that are imported here once, for all forks, as the functions' own modules are; any
other a worker imports for itself."""
LENGTH = struct.Struct("<Q")
"""What precedes a request, and comes with its pipes: how many bytes it has."""
_SECONDS_OF_WALL = 10
"""For each second of processor time; a worker that waits for a file that never comes ends too."""


def serve(descriptor: int) -> None:
    """Fork a keeper for each request, until nobody is there to ask."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as asked:
        asked.settimeout(IDLE_S)
        while True:
            try:
                length, ends, _, _ = socket.recv_fds(asked, LENGTH.size, 3)
            except TimeoutError:
                return
            if not length:
                return
            request = json.loads(_received(asked, LENGTH.unpack(length)[0]))
            for module in (*KEPT.intersection(request["libraries"]), request["module"]):
                importlib.import_module(module)
            if os.fork() == 0:
                asked.close()
                _end_with(_keep, request, *ends)
            for end in ends:
                os.close(end)


def _received(asked: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = asked.recv(size - len(pieces))
        if not piece:  # whoever asked has ended
            raise EOFError
        pieces += piece
    return bytes(pieces)


def _end_with(step: Any, *arguments: Any) -> None:
    """A fork never returns into the loop of its parent."""
    code = 1
    try:
        step(*arguments)
        code = 0
    finally:
        os._exit(code)


def _keep(request: dict[str, Any], given: int, data: int, status: int) -> None:
    """Wait for the worker, and say by which signal it ended where it could not itself."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = os.fork()
    if worker == 0:
        _end_with(_work, request, given, data, status)
    os.close(data)
    os.close(given)
    code = wait_for_child(worker, request["memory_bytes"])
    if code < 0:
        is_time = -code in (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU)
        is_memory = -code in (signal.SIGABRT, signal.SIGKILL)  # C++ without memory; the kernel
        _say(status, {"end": "time" if is_time else "memory" if is_memory else "broken"})


def _say(status: int, said: dict[str, Any]) -> None:
    os.write(status, json.dumps(said).encode())


def _work(request: dict[str, Any], given: int, data: int, status: int) -> None:
    try:
        arguments = _given(given)
        function = getattr(importlib.import_module(request["module"]), request["function"])
        for library in request["libraries"]:
            importlib.import_module(library)
        limit_memory(request["memory_bytes"])
        sys.setrecursionlimit(1_000)
        _start_clock(request)
        with speaking(request["language"]):
            answer = function(*arguments)
            if request["is_stream"]:
                for piece in answer:
                    _stop_clock()
                    _write(data, piece)
                    _start_clock(request)
            else:
                _write(data, json.dumps(answer).encode())
        _say(status, {"end": "done"})
    except BrokenPipeError:
        return  # nobody reads any more
    except EngineError as error:
        kind = type(error).__name__
        said = {"end": "refused", "kind": kind, "problem": error.problem, "remedy": error.remedy}
        _say(status, said)
    except MemoryError:
        _say(status, {"end": "memory"})
    except Exception:  # noqa: BLE001 - the parent raises it
        _say(status, {"end": "bug", "traceback": traceback.format_exc()[-20_000:]})


def _given(given: int) -> tuple[Any, ...]:
    with open(given, "rb") as pipe:
        arguments = pickle.loads(pipe.read())  # of the parent, who may have anything done here
    return tuple(arguments)


def _start_clock(request: dict[str, Any]) -> None:
    """The kernel ends the process when its time is over, wherever it is."""
    signal.setitimer(signal.ITIMER_PROF, request["seconds"])
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] * _SECONDS_OF_WALL)


def _stop_clock() -> None:
    """While the parent has not taken what is written."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _write(data: int, piece: bytes) -> None:
    for content in (struct.pack("<Q", len(piece)), piece):
        view = memoryview(content)
        while view:
            view = view[os.write(data, view) :]
