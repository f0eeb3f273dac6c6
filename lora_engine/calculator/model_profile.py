"""The shapes and counts behind an estimate, read once for many questions, and what trains."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache

from lora_engine.calculator.count_parameters import count_model
from lora_engine.calculator.memory_request import MemoryRequest
from lora_engine.calculator.model_count import ModelCount, ModuleCount, SavedModule, TrainedBias
from lora_engine.calculator.model_shape import LayerShape, ModelShape, read_shape
from lora_engine.calculator.model_source import ModelSource
from lora_engine.spec import MethodSpec


@dataclass(frozen=True)
class ModelProfile:
    """The shapes and counts behind an estimate, read once and used for many questions."""

    shape: ModelShape
    count: ModelCount

    @cached_property
    def adapted(self) -> dict[str, list[ModuleCount]]:
        """Layer path -> the adapted modules in it."""
        grouped: dict[str, list[ModuleCount]] = defaultdict(list)
        for module in self.count.modules:
            owner = self._layer_of(module.name)
            if owner:
                grouped[owner].append(module)
        return grouped

    @cached_property
    def trained_layer_paths(self) -> set[str | None]:
        """The layers with an adapter, or a bias that trains."""
        return {*self.adapted, *(self._layer_of(bias.name) for bias in self.count.biases)}

    @cached_property
    def _layer_paths(self) -> set[str]:
        return {layer.path for layer in self.shape.layers}

    def _layer_of(self, name: str) -> str | None:
        """The layer in which a module is; None outside of them."""
        parts = name.split(".")
        owners = (".".join(parts[:i]) for i in range(len(parts), 0, -1))
        return next((owner for owner in owners if owner in self._layer_paths), None)


def read_profile(source: ModelSource, method: MethodSpec) -> ModelProfile:
    """Build the model on the meta device: its shapes, and PEFT's counts.

    Both follow from the arguments alone; the last ones are kept, so that a question about the
    same model with other batches, methods or cards builds nothing.
    """
    return _profile_of(source, method.model_dump_json())


@lru_cache(maxsize=64)
def _profile_of(source: ModelSource, method: str) -> ModelProfile:
    """By the method's JSON, as a spec with lists in it cannot be a key."""
    return ModelProfile(
        _shape_of(source), count_model(source, MethodSpec.model_validate_json(method))
    )


@lru_cache(maxsize=16)
def _shape_of(source: ModelSource) -> ModelShape:
    return read_shape(source)


def trained_shapes(
    profile: ModelProfile, request: MemoryRequest
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Shapes of the tensors that train, as (shape, how many)."""
    shapes: Counter[tuple[int, ...]] = Counter()
    if request.has_adapter:
        for m in profile.count.modules:
            factors = m.rank * m.experts
            shapes[(factors, m.in_features)] += 1
            shapes[(m.out_features, factors)] += 1
            extra = m.parameters - factors * (m.in_features + m.out_features)
            if extra > 0:  # DoRA's magnitude, lora_bias
                shapes[(extra,)] += 1
        count = profile.count
        whole_parts: list[SavedModule | TrainedBias] = [*count.saved_modules, *count.biases]
        shapes.update((whole.parameters,) for whole in whole_parts)
        return tuple(shapes.items())
    layers = trained_layers(profile, request)
    for layer in layers:
        for out_features, in_features, experts in layer.matrices:
            shapes[(out_features, in_features)] += experts
    held = sum(many * shape[0] * shape[1] for shape, many in shapes.items())
    total = profile.shape.parameters
    if request.method.finetuning_type == "freeze":
        total = sum(layer.parameters for layer in layers)
    if total > held:  # embeddings, head, norms, biases
        shapes[(total - held,)] += 1
    return tuple(shapes.items())


def trained_parameters(profile: ModelProfile, request: MemoryRequest) -> int:
    """How many parameters train with this method."""
    total = 0
    for shape, many in trained_shapes(profile, request):
        size = 1
        for side in shape:
            size *= side
        total += size * many
    return total


def trained_layers(profile: ModelProfile, request: MemoryRequest) -> tuple[LayerShape, ...]:
    """The layers whose own weights train: the last ones for `freeze`, else all."""
    layers = profile.shape.layers
    method = request.method
    return layers[-method.freeze_layers :] if method.finetuning_type == "freeze" else layers
