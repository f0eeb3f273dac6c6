"""One base model in memory with the adapters injected into it, shared by every conversation.

A caller runs the model `with exclusive()`, for one short slice of work at a time, so callers are
served by turns in the order in which they asked. An adapter is known by the content of its files;
the one unused for longest makes room for a new one, and the base is never loaded again.
"""

from __future__ import annotations

import inspect
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapters.check import AdapterCheck, check_adapter
from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.kinds import OtherConfig, read_any_config
from lora_engine.adapters.other_check import OtherCheck, check_other_adapter
from lora_engine.base_models import (
    BaseModel,
    fingerprint,
    load_base_model,
    load_tokenizer,
    refuse_no_causal_model,
    stored_quantization,
)
from lora_engine.compare.generate.adapter_switch import AdapterSwitch
from lora_engine.data import stop_tokens
from lora_engine.devices import pick_device
from lora_engine.errors import EngineError
from lora_engine.generation.decode import context_length
from lora_engine.language import tr
from lora_engine.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from lora_engine.spec import QuantizationSpec

AnyCheck = AdapterCheck | OtherCheck
"""An adapter that passed its check: of LoRA, or of another method."""

MAX_ADAPTERS = 16
SMALL_PARAMETERS = 30_000_000


class FairLock:
    """A lock that threads get in the order in which they asked for it.

    Python's own lock promises no order: a caller that releases and asks again at once, as a decode
    loop does, can starve the others.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._held = False

    def __enter__(self) -> FairLock:
        with self._guard:
            if not self._held and not self._waiting:
                self._held = True
                return self
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False


class SharedBase:
    """The base model, its tokenizer and the adapters injected so far.

    accepted: the names of the arguments that the model's forward takes. An adapter's key is the
    start of the hash over its two files.
    """

    def __init__(
        self, base: BaseModel, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.base = base
        self.model = model
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint(base)
        self.context_length = context_length(model.config)
        self.end_tokens = stop_tokens(tokenizer, model.generation_config)
        self.accepted = frozenset(inspect.signature(model.forward).parameters)
        self._threads = 1 if _is_small(model) else None
        self._lock = FairLock()
        self.switch = AdapterSwitch(model)
        self._adapter_guard = threading.Lock()
        self._checks: dict[str, AnyCheck] = {}  # by key, the longest unused first
        self._borrowers: Counter[str] = Counter()
        self._key_of_state: dict[tuple, str] = {}

    @classmethod
    def load(
        cls,
        base: BaseModel,
        settings: Settings,
        quantization: QuantizationSpec | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> SharedBase:
        """Load the base: float32 on the CPU, bfloat16 on CUDA.

        quantization: as a run had it, of weights that are stored as numbers. tokenizer: in the
        place of the base's own.
        Raises EngineError where it cannot be loaded or keeps no key-value cache.
        """
        import torch

        refuse_no_causal_model(base)
        stored_quantization(base)  # refuses one that is not read here, before the tokenizer loads
        device = pick_device(settings)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        tokenizer = tokenizer or load_tokenizer(base)
        model = load_base_model(base, device, dtype, quantization).eval()
        if getattr(model, "_is_stateful", False):
            raise EngineError(
                tr(
                    "{name} ({model_type}) keeps a state that is no key-value cache; Compare "
                    "cannot run it.",
                    name=f"{base.name!r}",
                    model_type=model.config.model_type,
                ),
                tr("Choose a transformer with attention in every layer."),
            )
        model.requires_grad_(False)
        return cls(base, model, tokenizer)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Within: this caller alone runs the model.

        A small model runs on one thread: its steps are too short to split, and while a training run
        has the cores, threads that wait for each other cost ten times the work itself.
        """
        import torch

        with self._lock:
            before = torch.get_num_threads()
            torch.set_num_threads(self._threads or before)
            try:
                yield
            finally:
                torch.set_num_threads(before)

    def add_adapter(self, folder: Path) -> str:
        """Check and inject the adapter in `folder` unless it is there already. Returns its key.

        Raises what `check_adapter` and `check_other_adapter` raise.
        """
        with self._adapter_guard:
            return self._load(folder)

    def virtual_tokens(self, key: str | None) -> int:
        """How many trained tokens an adapter puts before every row; 0 for the base (None)."""
        check = None if key is None else self._checks[key]
        return check.config.virtual_tokens if isinstance(check, OtherCheck) else 0

    def check_of(self, key: str) -> AnyCheck:
        """What the check found out about a loaded adapter."""
        return self._checks[key]

    @contextmanager
    def keep_loaded(self, folders: Mapping[str, Path | None]) -> Iterator[dict[str, str | None]]:
        """Within: the adapters of these columns stay loaded. Yields column to adapter key.

        A column without a folder is the base, whose key is None.
        """
        keys: dict[str, str | None] = {}
        taken: set[str] = set()
        try:
            with self._adapter_guard:
                for column, folder in folders.items():
                    key = keys[column] = None if folder is None else self._load(folder)
                    if key is not None and key not in taken:
                        taken.add(key)
                        self._borrowers[key] += 1  # at once: the next one makes room for itself
            yield keys
        finally:
            with self._adapter_guard:
                self._borrowers.subtract(taken)

    def _load(self, folder: Path) -> str:
        state = _files_state(folder)
        key = self._key_of_state.get(state)
        if key not in self._checks:
            check = _check(folder, self.base)
            key = f"adapter_{check.sha256[:16]}"
            if key not in self._checks:
                self._make_room()
                with self._lock:
                    self.switch.add(key, check)
                self._checks[key] = check
            self._key_of_state[state] = key
        self._checks[key] = self._checks.pop(key)
        return key

    def _make_room(self) -> None:
        idle = [key for key in self._checks if not self._borrowers[key]]
        for key in idle[: max(0, len(self._checks) - MAX_ADAPTERS + 1)]:
            with self._lock:
                self.switch.remove(key)
            del self._checks[key]


def _check(folder: Path, base: BaseModel) -> AnyCheck:
    if isinstance(read_any_config(folder), OtherConfig):
        return check_other_adapter(folder, base)
    return check_adapter(folder, base)


def _is_small(model: PreTrainedModel) -> bool:
    return model.device.type == "cpu" and model.num_parameters() < SMALL_PARAMETERS


def _files_state(folder: Path) -> tuple:
    """A value that changes whenever one of the adapter's two files does."""
    state: list[object] = [str(folder.resolve())]
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        path = folder / name
        stat = path.stat() if path.is_file() else None
        state += [stat.st_mtime_ns, stat.st_size] if stat else [None]
    return tuple(state)
