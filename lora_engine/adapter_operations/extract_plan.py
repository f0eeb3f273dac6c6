"""What of two checkpoints of one model differs, and in which form an adapter can hold it.

    factors   a matrix that changed: linear layers, Conv1D, embeddings
    biases    a linear layer's bias, as the bias of lora_B
    whole     what low rank cannot hold (norms, and matrices whose factors would not be smaller)

Decided from the model without weights and from the files' bytes. Knows nothing of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lora_engine.adapters.weights_keys import FLOAT_DTYPES
from lora_engine.base_models import BaseModel
from lora_engine.base_models.stored_names import ModelNames
from lora_engine.errors import EngineError
from lora_engine.language import tr, translatable
from lora_engine.weights.checkpoint import Checkpoint
from lora_engine.weights.matrix import describe_shape

Layer = Literal["linear", "conv1d", "embedding"]
LAYERS: Mapping[str, Layer] = {"Linear": "linear", "Conv1D": "conv1d", "Embedding": "embedding"}
SAME_MODEL = translatable(
    "Give the base model that was fine-tuned, and the whole model that came of it."
)


@dataclass(frozen=True)
class ChangedMatrix:
    """A weight that changed, under its names in the two files."""

    module: str
    layer: Layer
    base: str
    tuned: str


@dataclass
class ExtractPlan:
    """What changed, by module. whole: tensors of the tuned file by parameter. stored: all of
    them."""

    matrices: list[ChangedMatrix] = field(default_factory=list)
    biases: dict[str, tuple[str, str]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)

    def whole_modules(self) -> dict[str, str]:
        """Every parameter of the modules that are saved whole, changed or not, by its tensor."""
        modules = {parameter.rpartition(".")[0] for parameter in self.whole}
        rest = {p: n for p, n in self.stored.items() if p.rpartition(".")[0] in modules}
        return {**rest, **self.whole}

    def save_whole(self, matrix: ChangedMatrix) -> None:
        """Hold a matrix, and its module's bias, as they are."""
        self.matrices.remove(matrix)
        self.whole[f"{matrix.module}.weight"] = matrix.tuned
        if matrix.module in self.biases:
            self.whole[f"{matrix.module}.bias"] = self.biases.pop(matrix.module)[1]


def plan_extraction(model: BaseModel, base: Checkpoint, tuned: Checkpoint) -> ExtractPlan:
    """Compare every parameter of the model in both checkpoints, by bytes or by values.

    Raises EngineError for a tensor that one of the two lacks, another shape (a resized vocabulary),
    and a changed tensor that has no parameter of its own (fused experts).
    """
    ours, theirs = ({one.name: one for one in c.listing()} for c in (base, tuned))
    first, second = ModelNames.of(model, ours), ModelNames.of(model, theirs)
    plan, seen = ExtractPlan(), set()
    for parameter in first.parameters:
        names = _stored_names(parameter, first, second)
        if names is None:
            continue
        seen |= set(names)
        _check_shapes(parameter, ours[names[0]].shape, theirs[names[1]].shape, first)
        if _differs(base, names[0], tuned, names[1]):
            _sort_in(plan, parameter, names, first)
    _refuse_leftovers([name for name in ours if name not in seen and name in theirs], base, tuned)
    _follow_biases(plan, first)
    found = {parameter: second.stored_name(parameter) for parameter in second.parameters}
    plan.stored = {parameter: name for parameter, name in found.items() if name is not None}
    return plan


def _stored_names(parameter: str, first: ModelNames, second: ModelNames) -> tuple[str, str] | None:
    """Where the two files hold a parameter: a tied head lies where the embedding does."""
    found = [names.stored_name(parameter) for names in (first, second)]
    if first.tied is not None and parameter in first.tied:
        twin = first.tied[0] if parameter == first.tied[1] else first.tied[1]
        found = [
            one or names.stored_name(twin)
            for one, names in zip(found, (first, second), strict=True)
        ]
    if found[0] is None and found[1] is None:
        return None
    if found[0] is None or found[1] is None:
        which = "base" if found[0] is None else "tuned"
        raise EngineError(
            tr("The {which} checkpoint has no {parameter}.", which=which, parameter=parameter),
            tr(SAME_MODEL),
        )
    return found[0], found[1]


def _check_shapes(
    parameter: str, ours: tuple[int, ...], theirs: tuple[int, ...], model: ModelNames
) -> None:
    if ours == theirs:
        return
    module = model.module(parameter.rpartition(".")[0])
    resized = ours[1:] == theirs[1:] and "Embedding" in type(module).__name__
    raise EngineError(
        tr(
            "{parameter} is {shape} in the base and {shape_2} in the tuned checkpoint; an "
            "adapter cannot resize it.",
            parameter=parameter,
            shape=describe_shape(ours),
            shape_2=describe_shape(theirs),
        ),
        tr("Resize the base's embedding to the tuned vocabulary first (resize_token_embeddings).")
        if resized
        else SAME_MODEL,
    )


def _differs(base: Checkpoint, name: str, tuned: Checkpoint, other: str) -> bool:
    """By bytes where both hold plain numbers of one type, else by values."""
    kinds = [c.stored_dtype(n) for c, n in ((base, name), (tuned, other))]
    if kinds[0] == kinds[1] and kinds[0] in FLOAT_DTYPES:
        pairs = zip(base.raw_blocks(name), tuned.raw_blocks(other), strict=True)
        return any(ours != theirs for ours, theirs in pairs)
    return not np.array_equal(base.tensor(name), tuned.tensor(other))


def _sort_in(plan: ExtractPlan, parameter: str, names: tuple[str, str], model: ModelNames) -> None:
    module, _, part = parameter.rpartition(".")
    layer = LAYERS.get(type(model.module(module)).__name__)
    if layer is not None and part == "weight":
        plan.matrices.append(ChangedMatrix(module, layer, *names))
    elif layer in ("linear", "conv1d") and part == "bias":
        plan.biases[module] = names
    else:
        plan.whole[parameter] = names[1]


def _refuse_leftovers(names: Iterable[str], base: Checkpoint, tuned: Checkpoint) -> None:
    """Tensors in pieces that the model fuses: an adapter of them is not extracted."""
    for name in names:
        if _differs(base, name, tuned, name):
            raise EngineError(
                tr(
                    "{name} changed, and the model in memory has no parameter of that form "
                    "(fused experts, for example).",
                    name=name,
                ),
                tr("Compare the two checkpoints on Spectrum; an adapter cannot be extracted here."),
            )


def _follow_biases(plan: ExtractPlan, model: ModelNames) -> None:
    """PEFT has biases of lora_B for all modules or none, and none for embeddings; a bias whose
    weight stayed is saved with its module."""
    changed = {matrix.module for matrix in plan.matrices}
    for module in [name for name in plan.biases if name not in changed]:
        plan.whole[f"{module}.bias"] = plan.biases.pop(module)[1]
    if plan.biases:
        for matrix in [one for one in plan.matrices if one.layer == "embedding"]:
            plan.save_whole(matrix)
