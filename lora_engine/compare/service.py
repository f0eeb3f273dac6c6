"""What the engine offers for comparing a base model with its adapters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from lora_engine.access import LOCAL, need_role, person_now
from lora_engine.adapters.library import resolve_adapter
from lora_engine.base_models import BaseModel, resolve_base_model
from lora_engine.compare.generate.comparison_model import ComparisonModel
from lora_engine.compare.generate.compatibility import (
    AdapterMismatches,
    find_mismatches,
    fixed_because,
    form_before_loading,
)
from lora_engine.compare.generate.model_pool import ComparisonPool
from lora_engine.compare.generate.prompt_set import PromptSetResult, answer_prompts
from lora_engine.compare.generate.remote_server import RemoteServer, parse_remote_server
from lora_engine.compare.generate.server_address import AllowedServers
from lora_engine.compare.prompts.prompt_form import AskAs, PromptForm
from lora_engine.compare.prompts.sampled_answers import SampledAnswers, sampled_answers
from lora_engine.compare.sessions.session_store import SessionStore
from lora_engine.compare.votes.vote_store import VoteStore
from lora_engine.errors import EngineError
from lora_engine.generation.sampling import Sampling
from lora_engine.settings import Settings


class Comparisons:
    """Comparisons over the one base model that is kept in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ComparisonPool(settings, self._let_spares_go)
        self._allowed_servers = AllowedServers(settings.allowed_servers)
        self._holders: list[Callable[[], None]] = []
        self._spares: list[Callable[[], None]] = []
        self.sessions = SessionStore(settings.data_dir / "sessions")

    @cached_property
    def votes(self) -> VoteStore:
        """The blind votes. Raises EngineError where the database cannot be used."""
        # Opened when first needed: a database that is refused closes nothing but the votes.
        return VoteStore(self._settings.data_dir / "votes.db")

    def model(self, base: str, adapters: Sequence[str], ask_as: AskAs = "auto") -> ComparisonModel:
        """The base and the named adapters as columns, each called what the caller called it.

        ask_as: a person's choice of how they are asked, `auto` without one.
        Raises EngineError for a base or an adapter that cannot be used.
        """
        need_role("run")  # it takes memory and time that runs may need
        folders = {name: resolve_adapter(name, self._settings) for name in adapters}
        return self.model_of(resolve_base_model(base, self._settings), folders, ask_as)

    def model_of(
        self, base: BaseModel, folders: Mapping[str, Path], ask_as: AskAs = "auto"
    ) -> ComparisonModel:
        """As `model`, with the folder of each column's adapter."""
        return self._pool.get(base, folders, ask_as)

    def another_server(self, url: str, model: str, key: str = "") -> RemoteServer:
        """A model on another server, for one more column: any for whoever sits at this machine,
        and one of LORA_ALLOWED_SERVERS for people behind a login. Raises EngineError."""
        need_role("run")
        allowed = None if person_now() == LOCAL else self._allowed_servers
        return parse_remote_server(url, model, key, allowed)

    def add_holder(self, let_go: Callable[[], None]) -> None:
        """Whoever keeps the base beyond a question says how to let go of it while it is idle."""
        self._holders.append(let_go)

    def add_spare(self, let_go: Callable[[], None]) -> None:
        """Whoever holds memory for what may come says how to let go of it: where a chat lacks
        memory, and where a run does."""
        self._spares.append(let_go)

    def _let_spares_go(self) -> None:
        for let_go in self._spares:
            let_go()

    def let_go_if_idle(self) -> str | None:
        """Free the memory of a base that answers nobody; the name of one that does, which stays."""
        self._let_spares_go()
        for let_go in self._holders:
            let_go()
        return self._pool.let_go_if_idle()

    def form(self, base: str, adapters: Sequence[str], ask_as: AskAs = "auto") -> PromptForm:
        """How these would be asked, and why, found without loading anything.

        Raises EngineError for an unknown adapter.
        """
        folders = {name: resolve_adapter(name, self._settings) for name in adapters}
        try:
            found = resolve_base_model(base, self._settings)
        except EngineError:
            found = BaseModel(base, None)  # a question to it reports the missing base
        return form_before_loading(found, folders, ask_as)

    def check_compatibility(
        self, base: str, adapters: Sequence[str], ask_as: AskAs = "auto"
    ) -> AdapterMismatches:
        """What is wrong with these adapters on this base, found without loading either.

        Raises EngineError for an unknown adapter.
        """
        folders = {name: resolve_adapter(name, self._settings) for name in adapters}
        try:
            found = resolve_base_model(base, self._settings)
        except EngineError:
            # The adapters can still be chosen; a question to them reports the missing base.
            return AdapterMismatches({}, {})
        return find_mismatches(found, folders, ask_as)

    def fixed(self, adapters: Sequence[str]) -> dict[str, str]:
        """Of these adapters, those without a strength or layers to change, each with why.

        One that is gone is left out.
        """
        found = {}
        for name in adapters:
            with suppress(EngineError):
                found[name] = fixed_because(resolve_adapter(name, self._settings))
        return {name: why for name, why in found.items() if why}

    def sampled(self, adapters: Sequence[str]) -> SampledAnswers | None:
        """A question that the runs of these adapters answered as they trained, if there is one.

        Raises EngineError for an unknown adapter.
        """
        return sampled_answers([resolve_adapter(name, self._settings) for name in adapters])

    def answer_prompts(
        self,
        base: str,
        adapters: Sequence[str],
        prompts: Sequence[str],
        sampling: Sampling,
        ask_as: AskAs = "auto",
    ) -> PromptSetResult:
        """Every prompt answered by the base and by each adapter. Raises as `model`."""
        model = self.model(base, adapters, ask_as)
        started = time.perf_counter()
        answers = tuple(answer_prompts(model, prompts, sampling))
        elapsed_s = time.perf_counter() - started
        return PromptSetResult(answers, elapsed_s, tuple(model.warnings()), model.form.mode)
