"""What the engine offers about datasets. Knows nothing of runs."""

from __future__ import annotations

from lora_engine.base_models import load_tokenizer, resolve_base_model
from lora_engine.data.preview_rows import Preview, preview
from lora_engine.data.uploads import DatasetSummary, list_datasets
from lora_engine.settings import Settings
from lora_engine.spec import RunSpec


class Datasets:
    """The datasets of one data directory, and the bundled ones."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list(self) -> list[DatasetSummary]:
        """The bundled datasets and the uploads."""
        return list_datasets(self._settings)

    def preview(self, spec: RunSpec, rows: int) -> Preview:
        """The first rows of the spec's dataset as its base model will see them.

        Raises EngineError where the model or the dataset cannot be read.
        """
        base = resolve_base_model(spec.base_model, self._settings)
        tokenizer = load_tokenizer(base)
        length = spec.optimization.max_length
        return preview(spec.dataset, tokenizer, length, rows, self._settings, base)
