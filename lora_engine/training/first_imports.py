"""What a process that trains imports first, torch and transformers, and how that takes less time.

transformers reads the source of all its models, 2,500 files, to learn what they have, and reads
them again for `transformers.models`: it remembers 128 of their 500 folders. Here it remembers all
of them. While it reads, a thread loads torch's largest library, for which Python's lock is not
needed. Where either library is no longer as it is now, its import is as without this module.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from lora_engine.library_imports import import_transformers, uncollected

READER, READ = "transformers.utils.import_utils", "create_import_structure_from_path"
LIBRARY, OF_CUDA = "libtorch_cpu.so", "libtorch_cuda.so"


def import_for_training() -> None:
    """Import torch, and what each model of transformers needs of it. For a process that trains;
    nothing where torch is there already."""
    if "torch" in sys.modules:
        return
    with uncollected():
        with model_files_read_once(meanwhile=load_torch_library):
            leave_out_scipy()
            import_transformers()
        import transformers.modeling_utils  # noqa: F401


def leave_out_scipy() -> None:
    """Keep transformers from importing scipy.optimize with every model, for losses of object
    detection: 35 MiB of a worker's memory. Others can import scipy afterwards.

    transformers asks once, when it is first imported, whether there is a scipy; a None in
    sys.modules is Python's own way to say that there is none. For a process that trains.
    """
    if "transformers" in sys.modules or "scipy" in sys.modules:
        return
    modules: dict[str, Any] = sys.modules  # typeshed has no None for "not importable"
    modules["scipy"] = None
    try:
        import transformers.utils  # noqa: F401
    finally:
        del sys.modules["scipy"]


@contextmanager
def model_files_read_once(meanwhile: Callable[[], None]) -> Iterator[None]:
    """Within, transformers' function that reads a folder of models remembers what it found.

    meanwhile: called when it begins to read. transformers is to be imported within, and not before.
    """
    reader = _Reader(meanwhile)
    sys.meta_path.insert(0, reader)
    try:
        yield
    finally:
        reader.end()


class _Reader(MetaPathFinder):
    """Wraps that function as soon as its module is executed, which transformers' own start does
    just before it calls it."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile: Callable[[], None] | None = meanwhile
        self._module: ModuleType | None = None
        self._own: Callable[..., Any] = lambda folder: {}
        self._found: dict[str, Any] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != READER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._wrap(execute, module)  # type: ignore[method-assign]  # of this one loader
        return spec

    def _wrap(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        if hasattr(module, READ):
            self._module, self._own = module, getattr(module, READ)
            setattr(module, READ, self._read)

    def _read(self, path: str | Path, *more: Any, **named: Any) -> Any:
        """As the function itself, which takes a file for its folder and calls itself by its name
        for the folders within."""
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        if more or named:  # another version of transformers
            return self._own(path, *more, **named)
        folder = os.path.dirname(path) if os.path.isfile(path) else str(path)
        if folder not in self._found:
            self._found[folder] = self._own(folder)
        return self._found[folder]

    def end(self) -> None:
        """Put everything back as it was."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._module is not None:
            setattr(self._module, READ, self._own)
        self._found.clear()


def load_torch_library() -> None:
    """Begin to load torch's largest library in a thread: 0.2 s of a processor, and what torch's own
    import does first. With CUDA torch loads its libraries in an order of its own, and does here.

    By the C library's function itself: `ctypes.CDLL` would hold Python's lock meanwhile.
    """
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return
    folder = Path(torch.origin).parent / "lib"
    if (folder / LIBRARY).exists() and not (folder / OF_CUDA).exists():
        load, words = ctypes.CDLL(None).dlopen, (os.fsencode(folder / LIBRARY), os.RTLD_NOW)
        threading.Thread(target=load, args=words, name="torch's library", daemon=True).start()
