"""What the engine offers for choosing a rank: advice before a run, and judgement after it."""

from __future__ import annotations

from typing import Any

from lora_engine.advisor.advice import Advice, AdviceRequest, advise
from lora_engine.advisor.reading import AdviceForSpec, advise_for
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec


class Advisor:
    """Advice and judgement over the runs of one data directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def advise(self, request: AdviceRequest) -> Advice:
        """As `advice.advise`."""
        return advise(request)

    def advise_for(self, spec: RunSpec, **wishes: Any) -> AdviceForSpec:
        """As `reading.advise_for`, which has the wishes: goal, task, card_gib."""
        return advise_for(spec, self._settings, **wishes)
