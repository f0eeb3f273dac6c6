"""The train page's form: a spec's form in which a mixture stands in place of the one dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pages.shared.forms import SpecForm


class TrainForm(SpecForm):
    """As `SpecForm`. The field of the dataset keeps its value while a mixture is typed."""

    def document(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        document = super().document(values)
        dataset = document.get("dataset")
        if isinstance(dataset, dict) and dataset.get("mixture"):
            dataset.pop("source", None)  # the first of the mixture's then
        return document
