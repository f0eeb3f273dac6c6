"""What the engine offers for trained adapters: resize, combine, and what each would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_engine.adapter_operations.resize import ResizeReport, ResizeTarget, resize
from lora_engine.adapters import resolve_adapter
from lora_engine.compare.service import Comparisons
from lora_engine.settings import Settings


class AdapterOperations:
    """Operations on adapters; a source is a run's id, a listed name or a folder.

    Losses are measured on the base model that the comparisons keep in memory.
    """

    def __init__(self, settings: Settings, comparisons: Comparisons) -> None:
        self._settings = settings
        self._comparisons = comparisons

    def resize(
        self, source: str | Path, output: Path, target: ResizeTarget, **options: Any
    ) -> ResizeReport:
        """As `resize.resize`, which has the options."""
        return resize(self._folder(source), output, target, **options)

    def _folder(self, source: str | Path) -> Path:
        return resolve_adapter(str(source), self._settings)
