"""The rows an adapter was not trained on, from its own provenance.

For a bundled dataset these are its held-out file; for a run with an evaluation set that set; for
any other the evaluation split, drawn again with the run's own seed and share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_engine.adapters.config import read_provenance
from lora_engine.data import Row, load_dataset
from lora_engine.data.objective_rows import VERDICTS
from lora_engine.data.split import rows_never_seen
from lora_engine.errors import NotFound
from lora_engine.language import tr
from lora_engine.settings import Settings
from lora_engine.spec import DatasetSpec, RunSpec, spec_from
from lora_engine.starter import DATASET_NAMES, heldout_path

STARTER_PREFIX = "starter:"


def load_held_out_rows(adapter: Path, settings: Settings) -> Sequence[Row]:
    """Rows of the adapter's own data that it never saw, in the order of the file.

    Of preference data these are the chosen answers, or those that are said to be good.
    Raises NotFound where the adapter does not say what it was trained on, or its run held no rows
    out; EngineError where the data cannot be read any more.
    """
    provenance = _provenance_of(adapter)
    spec = spec_from(provenance["spec"])
    name = spec.dataset.source.removeprefix(STARTER_PREFIX)
    is_bundled = spec.dataset.source.startswith(STARTER_PREFIX) and name in DATASET_NAMES
    if is_bundled and not spec.dataset.mixture and not spec.dataset.has_own_evaluation:
        return load_dataset(DatasetSpec(source=str(heldout_path(name))), settings).rows
    dataset = load_dataset(spec.dataset, settings)
    held_out = rows_never_seen(
        dataset, spec.dataset.eval_fraction, spec.seed, provenance.get("data_hash")
    )
    if dataset.format == VERDICTS:
        # No model is to give the bad ones: a loss on them would say nothing of it.
        held_out = tuple(row for row in held_out if row.is_desirable)
    if not held_out:
        raise NotFound(
            tr("The run kept no rows apart for evaluation."), tr("Paste or upload prompts instead.")
        )
    return held_out


def training_spec_of(adapter: Path) -> RunSpec:
    """The spec in an adapter's provenance. Raises NotFound, or InvalidInput for a foreign one."""
    return spec_from(_provenance_of(adapter)["spec"])


def _provenance_of(adapter: Path) -> dict[str, Any]:
    provenance = read_provenance(adapter) or {}
    if "spec" not in provenance:
        raise NotFound(
            tr("The adapter does not say what it was trained on."),
            tr("Paste or upload prompts instead."),
        )
    return provenance
