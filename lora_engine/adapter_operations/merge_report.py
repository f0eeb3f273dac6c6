"""How an adapter is to be merged, and what came of it. Knows nothing of how it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lora_engine.adapter_operations.merge_proof import MergeProof
from lora_engine.adapter_operations.sharded_weights import SHARD_BYTES
from lora_engine.base_models import BaseModel
from lora_engine.data import Row

DType = Literal["bfloat16", "float16", "float32"]
Weights = Literal["original", "dequantized"]


@dataclass(frozen=True)
class MergeOptions:
    """How to merge.

    dtype: of all weights; None keeps 16 and 32 bits as the base stores them. weights: which base to
    merge into where it was quantized; None takes the weights that the adapter was trained on.
    original: the 16-bit model that a base stored in 4 or 8 bits was made from. rows: to compare on,
    None for the adapter's own held-out rows, or general questions. prove: load the written model
    and measure; it needs memory for the model. readme: the text of a README.md beside the model,
    empty for none.
    """

    dtype: DType | None = None
    weights: Weights | None = None
    original: BaseModel | None = None
    rows: Sequence[Row] | None = None
    shard_bytes: int = SHARD_BYTES
    overwrite: bool = False
    prove: bool = True
    readme: str = ""


@dataclass(frozen=True)
class MergedWeights:
    """One base that was merged into, and what was measured of it; kept: it is the output."""

    weights: Weights
    kept: bool
    proof: MergeProof


@dataclass(frozen=True)
class MergeReport:
    """A merged model.

    losses and differences are on `positions` positions of the rows, None without a proof.
    variants: each base that was merged into, where the adapter was trained on a quantized one.
    """

    path: Path
    base_fingerprint: str
    dtype: str
    weights: Weights
    bytes: int
    files: tuple[str, ...]
    changed: tuple[str, ...]
    untied: bool
    max_logit_difference: float | None
    kl: float | None
    base_loss: float | None
    unmerged_loss: float | None
    merged_loss: float | None
    rows: int
    rows_from: str | None
    positions: int
    variants: tuple[MergedWeights, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The keys of the contract, then more."""
        document = {**vars(self), "path": str(self.path), "changed": list(self.changed)}
        document["variants"] = [
            {"weights": one.weights, "kept": one.kept, **vars(one.proof)} for one in self.variants
        ]
        return {**document, "files": list(self.files), "notes": list(self.notes)}
