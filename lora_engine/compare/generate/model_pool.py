"""Keeps one base model in memory between callers, so that a page need not load it again.

One base at a time: asking for another one drops the first as soon as nobody generates with it. A
run that needs the memory can have it while nobody holds the base.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

from lora_engine.adapters.check import refuse_other_task
from lora_engine.base_models import BaseModel, fingerprint, weight_numbers
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.shared_base import SharedBase
from lora_engine.compare.prompts.prompt_form import AskAs
from lora_engine.devices import CPU
from lora_engine.errors import EngineError
from lora_engine.free_memory import device_memory
from lora_engine.host_memory import give_back_freed_memory
from lora_engine.settings import Settings

NUMBER_BYTES, BESIDE_BYTES = 4, 1 << 30  # of a base that answers: a weight, and what else it takes


class ComparisonPool:
    """Hands out comparison models over one shared base. Safe to use from several threads.

    make_room: gives memory of this machine back that is held for nobody yet.
    """

    def __init__(self, settings: Settings, make_room: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._make_room = make_room
        self._guard = threading.Lock()
        self._shared: SharedBase | None = None
        self._name: str | None = None  # of the base in memory, or on its way there

    def get(
        self, base: BaseModel, adapters: Mapping[str, Path], ask_as: AskAs = "auto"
    ) -> ComparisonModel:
        """A model with these columns, asked as said; the base is loaded only if it is another one.

        Bases are told apart by their fingerprint, so a model saved anew is loaded anew.
        Raises EngineError (or a kind of it) for a base or an adapter that cannot be used.
        """
        for folder in adapters.values():
            refuse_other_task(folder)  # before its base is, which a classifier's cannot answer with
        model = ComparisonModel(self._base(base), {}, ask_as)
        for column, folder in adapters.items():
            model.add_adapter(column, folder)
        return model

    def loaded(self) -> str | None:
        """The name of the base in memory."""
        shared = self._shared
        return None if shared is None else shared.base.name

    def unload(self) -> None:
        """Let the base go; answers in progress finish first."""
        with self._guard:
            self._shared = None

    def let_go_if_idle(self) -> str | None:
        """Let the base go where no caller holds it. Where one does it stays: the base's name."""
        if not self._guard.acquire(blocking=False):
            return self._name  # being loaded, which may take minutes
        try:
            if self._shared is None:
                return None
            kept = weakref.ref(self._shared)
            self._shared = None
            give_back_freed_memory()
            self._shared = kept()
            if self._shared is not None:
                return self._name
            _give_back_card_memory()
            return None
        finally:
            self._guard.release()

    def _base(self, base: BaseModel) -> SharedBase:
        with self._guard:
            current = self._shared
            if current is None or not self._is_same(current, base):
                self._shared = current = None  # let go of the old base before loading another
                self._name = base.name
                if _lacks_memory(base):
                    self._make_room()
                current = self._shared = SharedBase.load(base, self._settings)
            return current

    def _is_same(self, current: SharedBase, base: BaseModel) -> bool:
        return current.base == base and current.fingerprint == fingerprint(base)


def _lacks_memory(base: BaseModel) -> bool:
    """Whether less is free than the base takes while it answers."""
    there = device_memory(CPU)
    try:
        needed = NUMBER_BYTES * weight_numbers(base) + BESIDE_BYTES
    except EngineError:
        return False  # loading it says what is wrong with it
    return there is not None and there.free_bytes < needed


def _give_back_card_memory() -> None:
    """Return what torch keeps of a card for tensors that are gone."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
