"""The shapes and counts behind an estimate, read once for many questions, and what trains."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from lora_engine.calculator import prepared, prepared_profiles
from lora_engine.calculator.count_other import count_other
from lora_engine.calculator.count_parameters import count_model, count_without_adapter
from lora_engine.calculator.memory_request import MemoryRequest
from lora_engine.calculator.model_count import ModelCount, ModuleCount
from lora_engine.calculator.model_shape import LayerShape, ModelShape, read_shape
from lora_engine.calculator.model_source import ModelSource
from lora_engine.calculator.optimizer_state import NOT_PROJECTED, OptimizerState, state_of
from lora_engine.language import language
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
    def first_alike(self) -> dict[str, str]:
        """Layer path -> that of the first layer of the same shape that is adapted alike."""
        first: dict[object, str] = {}
        return {
            layer.path: first.setdefault(self._kind_of(layer), layer.path)
            for layer in self.shape.layers
        }

    def _kind_of(self, layer: LayerShape) -> object:
        adapted = self.adapted.get(layer.path, ())
        inside = tuple(
            (m.name[len(layer.path) :], m.in_features, m.out_features, m.rank, m.experts)
            for m in adapted
        )
        return replace(layer, path=""), inside

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
    same model with other batches, methods or cards builds nothing. The count's warnings are words,
    so each language has its own.
    """
    return _profile_of(source, method.model_dump_json(), language())


@lru_cache(maxsize=64)
def _profile_of(source: ModelSource, method: str, _language: str) -> ModelProfile:
    """By the method's JSON, as a spec with lists in it cannot be a key."""
    asked = MethodSpec.model_validate_json(method)
    return ModelProfile(_shape_of(source), _count_of(source, asked))


def _count_of(source: ModelSource, method: MethodSpec) -> ModelCount:
    known = prepared_profiles.count_of(source, method) or prepared.count_of(source, method)
    if known is not None:
        return known
    if method.is_lora:
        return count_model(source, method)
    counted = count_other if method.has_adapter else count_without_adapter
    return counted(source, method)


@lru_cache(maxsize=16)
def _shape_of(source: ModelSource) -> ModelShape:
    return prepared.shape_of(source) or prepared_profiles.shape_of(source) or read_shape(source)


def trained_shapes(
    profile: ModelProfile, request: MemoryRequest
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Shapes of the tensors that train, as (shape, how many)."""
    shapes: Counter[tuple[int, ...]] = Counter()
    if request.has_adapter:
        count = profile.count
        for module in count.modules:
            shapes.update(module.shapes)
        for saved in count.saved_modules:
            shapes.update(saved.shapes)
        shapes.update((bias.parameters,) for bias in count.biases)
        return tuple(shapes.items())
    if request.method.finetuning_type != "freeze":
        return profile.shape.tensors
    for layer in trained_layers(profile, request):
        for shape, many in layer.tensors:
            shapes[shape] += many
    return tuple(shapes.items())


def optimizer_state(profile: ModelProfile, request: MemoryRequest) -> OptimizerState:
    """The state of the optimizer of `request` over what trains.

    GaLore projects no embedding and no head (training/optimizers/factory.py).
    """
    shapes, rank = Counter(dict(trained_shapes(profile, request))), request.method.rank
    state = OptimizerState()
    if request.optimizer == "galore":
        whole = Counter(dict(profile.shape.embeddings))
        state = state_of("galore", whole.items(), NOT_PROJECTED)
        shapes -= whole
    return state + state_of(request.optimizer, shapes.items(), rank)


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
    """The layers whose own weights train: all, or for `freeze` the last of the largest stack."""
    layers, method = profile.shape.layers, request.method
    if method.finetuning_type != "freeze":
        return layers
    stacks: dict[str, list[LayerShape]] = defaultdict(list)
    for layer in layers:
        stacks[layer.path.rpartition(".")[0]].append(layer)
    largest = max(stacks.values(), key=lambda s: sum(la.parameters for la in s), default=[])
    return tuple(largest[-method.freeze_layers :])
