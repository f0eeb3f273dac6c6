"""An adapter's update beside the base weight it acts on: DoRA's true update, shares, gain.

Weights are taken in the adapter's orientation, (out_features, in_features), and read from the
base's safetensors in blocks; the model is never loaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spectrum.adapter_factors import AdapterModule
from lora_engine.spectrum.dense import blocks
from lora_engine.spectrum.progress import SILENT, WorkMonitor
from lora_engine.weights.checkpoint import Checkpoint
from lora_engine.weights.matrix import Flatten, MatrixSource, Transposed, describe_shape

HEADS = ("lm_head", "embed_out")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


def find_base_weight(base: Checkpoint, module: AdapterModule) -> MatrixSource | None:
    """The base's weight of a module, (out_features, in_features), or None where it has none.

    A base saved without its language-model head lacks the first part of the names (`model.`,
    `transformer.`), and the other way round; a unique match of the rest is taken. A head that is
    not stored is tied to the embedding.
    Raises EngineError when the weight found has another shape.
    """
    name = _weight_name(base, module.name)
    if name is None:
        return None
    flatten = Flatten("first") if module.kind == "convolution" else None
    source = base.matrix(name, flatten)
    square = source.shape[0] == source.shape[1]
    if source.shape == module.shape and not (square and module.transposed):
        return source
    if source.shape == module.shape[::-1]:
        return Transposed(source)
    raise EngineError(
        tr(
            "{name} of the base is {shape}; the adapter's module is {shape_2}.",
            name=name,
            shape=describe_shape(source.shape),
            shape_2=describe_shape(module.shape),
        ),
        tr("Choose the base model that this adapter was trained on."),
    )


def _weight_name(base: Checkpoint, module: str) -> str | None:
    wanted = f"{module}.weight"
    if wanted in base.tensors:
        return wanted
    longer = [name for name in base.tensors if name.endswith("." + wanted)]
    if len(longer) == 1:
        return longer[0]
    for _ in range(2):
        _, dot, wanted = wanted.partition(".")
        if dot and wanted.count(".") and wanted in base.tensors:
            return wanted
    return _tied_embedding(base) if module.rpartition(".")[2] in HEADS else None


def _tied_embedding(base: Checkpoint) -> str | None:
    """The embedding that a head is tied to: the head of such a base is not stored."""
    found = [name for name in base.tensors if name.endswith(EMBEDDINGS)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, eq=False)
class DoraDelta:
    """The true update of a DoRA module: (m / ||W + sBA||_row) * (W + sBA) - W, full rank.

    PEFT's get_delta_weight leaves m out. A matrix source of shape (out_features, in_features).
    """

    module: AdapterModule
    base: MatrixSource
    gain: np.ndarray  # (out_features,)
    dtype: str = "float32"

    @property
    def notes(self) -> tuple[str, ...]:
        return (tr("DoRA: the true update, magnitude included."),)

    @property
    def name(self) -> str:
        return self.module.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.module.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        weight = self.base.rows(start, stop).astype(np.float64)
        left = self.module.factors.left[start:stop]
        moved = weight + left @ self.module.lora_A
        return self.gain[start:stop, None] * moved - weight

    def columns(self, start: int, stop: int) -> np.ndarray:
        weight = self.base.columns(start, stop).astype(np.float64)
        moved = weight + self.module.factors.left @ self.module.lora_A[:, start:stop]
        return self.gain[:, None] * moved - weight


def dora_delta(
    module: AdapterModule, base: MatrixSource, monitor: WorkMonitor = SILENT
) -> DoraDelta:
    """Open the true update of a DoRA module; one pass over the base weight for row norms."""
    if module.magnitude is None:
        raise EngineError(
            tr("{name} has no DoRA magnitude.", name=module.name), tr("Use its factors.")
        )
    if base.shape != module.shape:
        raise EngineError(
            tr(
                "The base weight is {shape}, the module {shape_2}.",
                shape=describe_shape(base.shape),
                shape_2=describe_shape(module.shape),
            ),
            tr("Choose the base model that this adapter was trained on."),
        )
    left = module.factors.left
    norms = np.empty(module.shape[0])
    for start, stop in blocks(*module.shape):
        said = tr("row norms of {module}", module=module.name)
        monitor.step(start / module.shape[0], said)
        moved = base.rows(start, stop).astype(np.float64) + left[start:stop] @ module.lora_A
        norms[start:stop] = np.linalg.norm(moved, axis=1)
    safe = np.where(norms > 0, norms, 1.0)
    return DoraDelta(module, base, module.magnitude.astype(np.float64) / safe)


@dataclass(frozen=True)
class BaseShare:
    """How an update stands beside its base weight W.

    base_norm: ||W||_F. relative_norm: ||dW||_F / ||W||_F. amplification: ||dW||_F /
    ||U^T W V||_F with the update's own top directions U, V (LoRA paper, table 7): how much
    more of these directions there is now. None where they would divide by zero.
    """

    base_norm: float
    relative_norm: float | None
    amplification: float | None


def share_of_base(
    base: MatrixSource, left: np.ndarray, right: np.ndarray, delta_norm: float
) -> BaseShare:
    """Compare an update with its base weight in one pass.

    left (out_features, r), right (in_features, r): the update's top singular vectors.
    """
    inside = np.zeros((left.shape[1], right.shape[1]))
    total = 0.0
    for start, stop in blocks(*base.shape):
        block = base.rows(start, stop).astype(np.float64)
        total += float(np.square(block).sum())
        inside += left[start:stop].T @ (block @ right)
    within = float(np.linalg.norm(inside))
    base_norm = math.sqrt(total)
    return BaseShare(
        base_norm=base_norm,
        relative_norm=delta_norm / base_norm if base_norm else None,
        amplification=delta_norm / within if within and delta_norm else None,
    )
