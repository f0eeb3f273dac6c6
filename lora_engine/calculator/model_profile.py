"""The shapes and counts behind an estimate, read once for many questions, and what trains."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache

from lora_engine.calculator.choice import LoraChoice
from lora_engine.calculator.count_parameters import count_model
from lora_engine.calculator.memory_request import MemoryQuestion
from lora_engine.calculator.model_count import ModelCount, ModuleCount
from lora_engine.calculator.model_shape import LayerShape, ModelShape, read_shape
from lora_engine.calculator.model_source import ModelSource


@dataclass(frozen=True)
class ModelProfile:
    """The shapes and counts behind an estimate, read once and used for many questions."""

    shape: ModelShape
    count: ModelCount

    @cached_property
    def adapted(self) -> dict[str, list[ModuleCount]]:
        """Layer path -> the adapted modules in it."""
        grouped: dict[str, list[ModuleCount]] = defaultdict(list)
        paths = {layer.path for layer in self.shape.layers}
        for module in self.count.modules:
            parts = module.name.split(".")
            owners = (".".join(parts[:i]) for i in range(len(parts), 0, -1))
            owner = next((o for o in owners if o in paths), None)
            if owner:
                grouped[owner].append(module)
        return grouped


@lru_cache(maxsize=64)
def read_profile(source: ModelSource, choice: LoraChoice) -> ModelProfile:
    """Build the model on the meta device: its shapes, and PEFT's counts.

    Both follow from the arguments alone; the last ones are kept, so that a question about the
    same model with other batches, methods or cards builds nothing.
    """
    return ModelProfile(_shape_of(source), count_model(source, choice))


@lru_cache(maxsize=16)
def _shape_of(source: ModelSource) -> ModelShape:
    return read_shape(source)


def trained_shapes(
    profile: ModelProfile, question: MemoryQuestion
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Shapes of the tensors that train, as (shape, how many)."""
    shapes: Counter[tuple[int, ...]] = Counter()
    if question.has_adapter:
        for m in profile.count.modules:
            factors = m.rank * m.experts
            shapes[(factors, m.in_features)] += 1
            shapes[(m.out_features, factors)] += 1
            extra = m.parameters - factors * (m.in_features + m.out_features)
            if extra > 0:  # DoRA's magnitude, lora_bias
                shapes[(extra,)] += 1
        shapes.update((saved.parameters,) for saved in profile.count.saved_modules)
        return tuple(shapes.items())
    layers = trained_layers(profile, question)
    for layer in layers:
        for out_features, in_features, experts in layer.matrices:
            shapes[(out_features, in_features)] += experts
    held = sum(many * shape[0] * shape[1] for shape, many in shapes.items())
    total = profile.shape.parameters
    if question.method == "freeze":
        total = sum(layer.parameters for layer in layers)
    if total > held:  # embeddings, head, norms, biases
        shapes[(total - held,)] += 1
    return tuple(shapes.items())


def trained_parameters(profile: ModelProfile, question: MemoryQuestion) -> int:
    """How many parameters train with this method."""
    total = 0
    for shape, many in trained_shapes(profile, question):
        size = 1
        for side in shape:
            size *= side
        total += size * many
    return total


def trained_layers(profile: ModelProfile, question: MemoryQuestion) -> tuple[LayerShape, ...]:
    """The layers whose own weights train: the last ones for `freeze`, else all."""
    layers = profile.shape.layers
    return layers[-question.freeze_layers :] if question.method == "freeze" else layers
