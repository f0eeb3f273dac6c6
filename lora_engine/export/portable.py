"""A portable adapter: the same update for a reader that knows nothing but `r` and `lora_alpha`.

    B' = scaling * B, padded with zeros to the largest rank R;  r = lora_alpha = R

Readers differ in what they take: some the two numbers of the configuration, some `lora_alpha` over
each tensor's own rank, few rsLoRA and none of the patterns. With one rank and a scaling of 1 all
of them compute the same. Rounding is measured: factors that do not survive in their own type are
stored in float32. Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_engine.adapter_operations.resize import rounding_error
from lora_engine.adapter_operations.source_adapter import (
    SourceAdapter,
    open_source,
    write_factors,
    written_config,
    written_provenance,
)
from lora_engine.adapter_operations.written_adapter import item_bytes, rounded_to, written_adapter
from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.spectrum import Factors, ReportProgress, WorkMonitor
from lora_engine.spectrum.low_rank_factors import norm

MERGE_INSTEAD = translatable("Export it as merged instead: a merged model holds everything.")
MERGE_OR_KEEP = translatable(
    "Export it as merged where the adapted layers of the base have biases that take these up; "
    "where they have none, as adapter, which PEFT reads."
)
WIDE = "F32"


@dataclass(frozen=True)
class PortableReport:
    """A written adapter. rank: of every module. error: relative, of all updates together, from
    rounding alone. widened: modules whose factors are stored in float32 so that none is lost."""

    path: Path
    rank: int
    modules: int
    error: float
    widened: int
    bytes: int


def portable(
    source: Path,
    output: Path,
    *,
    readme: str = "",
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> PortableReport:
    """Write the adapter in `source` so that every reader of LoRA computes the same update.

    readme: the text of a README.md beside it, empty for none.
    Raises EngineError, naming what it is, for DoRA, biases, modules saved whole, embeddings saved
    along and fused experts, which a plain adapter cannot say; Conflict for an output that exists;
    Stopped.
    """
    opened = open_source(Path(source))
    _refuse_what_is_not_plain(opened)
    monitor = WorkMonitor(progress, stop)
    holders = list(opened.stored.holders)
    rank = max(opened.stored.ranks[holder] for holder in holders)
    dtypes = {holder: _dtype_without_loss(opened, holder) for holder in holders}
    wide_first = sorted(holders, key=lambda holder: -item_bytes(dtypes[holder]))
    errors, norms = [], []
    keys = opened.stored.file.tensors
    with written_adapter(Path(output), keys, overwrite) as writer:
        for number, holder in enumerate(wide_first):
            monitor.step(number / len(holders), tr("writing {tensor}", tensor=holder))
            exact = _baked(opened.factors(holder)[0], rank)
            stored = write_factors(writer, opened.entries(holder), [exact], dtypes[holder])
            errors.append(rounding_error(exact, stored[0]))
            norms.append(norm(exact))
        total = math.hypot(*norms)
        error = math.hypot(*errors) / total if total else 0.0
        writer.finish(
            written_config(opened, plain_fields(opened, rank)),
            written_provenance(
                opened.provenance,
                {"kind": "portable", "sources": [opened.identity()], "rank": rank, "error": error},
            ),
            companions=opened.path,
        )
        write_readme(writer.folder, readme)
        size = (writer.folder / WEIGHTS_FILE).stat().st_size
    widened = sum(dtypes[holder] != opened.dtype(holder) for holder in holders)
    return PortableReport(Path(output), rank, len(holders), error, widened, size)


def write_readme(folder: Path, text: str) -> None:
    """README.md in the folder, where there is a text."""
    if text:
        (folder / "README.md").write_text(text, "utf-8")


def _refuse_what_is_not_plain(source: SourceAdapter) -> None:
    keys = source.stored.keys
    biased = [name for name, parts in keys.factors.items() if "bias" in parts]
    wrong = {
        tr("biases of lora_B"): biased,
        tr("biases of the base"): [*keys.biases],
        tr("modules saved whole"): [*keys.whole],
        tr("embeddings saved along"): [*keys.embeddings],
        tr("fused experts"): [*keys.parameters.values()],
    }
    found = {what: names for what, names in wrong.items() if names}
    if found:
        said = "; ".join(f"{what} ({names[0]})" for what, names in found.items())
        raise EngineError(
            tr(
                "{name} has more than plain factors: {said}. Other readers drop or refuse it.",
                name=source.name,
                said=said,
            ),
            tr(MERGE_OR_KEEP if biased else MERGE_INSTEAD),
        )


def _baked(factors: Factors, rank: int) -> Factors:
    """scaling * B and A with zeros up to `rank`."""
    missing = rank - factors.right.shape[0]
    return Factors(
        np.pad(factors.left, ((0, 0), (0, missing))), np.pad(factors.right, ((0, missing), (0, 0)))
    )


def _dtype_without_loss(source: SourceAdapter, holder: str) -> str:
    """The module's own type where scaling * B is exact in it, else float32."""
    dtype, baked = source.dtype(holder), source.factors(holder)[0].left
    is_exact = np.array_equal(rounded_to(baked, dtype)[1], baked)
    return dtype if is_exact or dtype == "F64" else WIDE


def plain_fields(source: SourceAdapter, rank: int) -> dict[str, object]:
    """What the configuration says: whole numbers, because one reader parses alpha as an integer."""
    return {
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": False,
        "bias": "none",
        "modules_to_save": None,
        "target_modules": _targets(source),
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
    }


def _targets(source: SourceAdapter) -> Sequence[str]:
    """The names as the configuration lists them, where a list is all that chooses; else in full."""
    names = source.stored.config.listed_targets()
    if names is not None:
        return names
    return [source.module_name(holder) for holder in source.stored.holders]
