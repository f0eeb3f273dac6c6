"""The rows an adapter was not trained on, from its own provenance.

For a bundled dataset these are its held-out file; for any other the evaluation split, drawn again
with the run's own seed and share.
"""

from __future__ import annotations

from pathlib import Path

from lora_engine.adapters.config import read_provenance
from lora_engine.data import Row, load_dataset, split_rows
from lora_engine.errors import NotFound
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, RunSpec, spec_from
from lora_engine.starter import DATASET_NAMES, heldout_path

STARTER_PREFIX = "starter:"


def load_held_out_rows(adapter: Path, settings: Settings) -> tuple[Row, ...]:
    """Rows of the adapter's own data that it never saw, in the order of the file.

    Raises NotFound where the adapter does not say what it was trained on, or its run held no rows
    out; EngineError where the data cannot be read any more.
    """
    spec = training_spec_of(adapter)
    name = spec.dataset.source.removeprefix(STARTER_PREFIX)
    if spec.dataset.source.startswith(STARTER_PREFIX) and name in DATASET_NAMES:
        return load_dataset(DatasetSpec(source=str(heldout_path(name))), settings).rows
    _, held_out = split_rows(
        load_dataset(spec.dataset, settings), spec.dataset.eval_fraction, spec.seed
    )
    if not held_out:
        raise NotFound(
            "The run kept no rows apart for evaluation.", "Paste or upload prompts instead."
        )
    return held_out


def training_spec_of(adapter: Path) -> RunSpec:
    """The spec in an adapter's provenance. Raises NotFound, or InvalidInput for a foreign one."""
    provenance = read_provenance(adapter) or {}
    if "spec" not in provenance:
        raise NotFound(
            "The adapter does not say what it was trained on.", "Paste or upload prompts instead."
        )
    return spec_from(provenance["spec"])
