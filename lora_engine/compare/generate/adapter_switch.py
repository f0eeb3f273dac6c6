"""Several PEFT adapters injected into one base model, each applied to its own rows of a batch.

PEFT's own mixed batches find out anew in every layer which row belongs to whom. Here the rows of
one adapter stand together, so a layer computes the base once for the whole batch and adds
`strength · scaling · B(A x)` to a slice. Plain LoRA on linear layers is done this way; DoRA,
embeddings and modules trained whole go through PEFT's forward, alone in a pass of their own.
Nothing here is thread-safe: the owner holds a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.adapters.config import AdapterConfig
from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterUse
from lora_engine.errors import EngineError
from lora_engine.library_imports import import_peft

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


MAX_FACTORS = 8  # scaled copies of B that a layer keeps, one an adapter and strength


@dataclass(frozen=True)
class Variant:
    """An adapter as one column uses it; adapter None is the base."""

    adapter: str | None = None
    use: AdapterUse = AS_TRAINED


@dataclass(frozen=True)
class RowSlice:
    """Rows [start, stop) of the batch use this variant."""

    variant: Variant
    start: int
    stop: int


class AdapterSwitch:
    """The adapters injected into one model, and which rows they act on just now."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._peft = None
        self._layers: list[_MixedLayer] = []
        self._alone: set[str] = set()

    def add(self, name: str, folder: Path, config: AdapterConfig) -> None:
        """Inject a checked adapter. The base model's weights stay as they are, and shared."""
        try:
            result = self._injected(name, folder, config)
        except (ValueError, RuntimeError, KeyError) as error:
            self._discard(name)
            raise EngineError(
                f"The adapter in {folder} does not fit the base model: {str(error)[:300]}",
                "Choose the base model that this adapter was trained on.",
            ) from error
        left_out = [*result.missing_keys, *result.unexpected_keys]
        if left_out:
            self._discard(name)
            raise EngineError(
                f"The adapter in {folder} is not whole on this base model: {len(left_out)} "
                f"weights have no counterpart, such as {left_out[0]}.",
                "Copy the adapter again from where it was saved, or train it again.",
            )
        self._peft.eval()
        self._peft.base_model.disable_adapter_layers()
        self._wrap_new_layers()
        if config.modules_to_save or self._has_special_layer(name):
            self._alone.add(name)

    def _injected(self, name: str, folder: Path, config: AdapterConfig):
        """PEFT's report of the keys that found no place."""
        import_peft()
        from peft import PeftModel

        peft_config = config.to_peft()
        if self._peft is None:
            self._peft = PeftModel(self.model, peft_config, name, low_cpu_mem_usage=True)
        else:
            self._peft.add_adapter(name, peft_config, low_cpu_mem_usage=True)
        device = str(next(self.model.parameters()).device)
        return self._peft.load_adapter(folder, name, torch_device=device, low_cpu_mem_usage=True)

    def _discard(self, name: str) -> None:
        if self._peft is not None and name in self._peft.peft_config:
            self._peft.delete_adapter(name)
            self._peft.base_model.disable_adapter_layers()

    def remove(self, name: str) -> None:
        self._peft.delete_adapter(name)
        self._alone.discard(name)
        for layer in self._layers:
            layer.forget(name)

    def needs_own_pass(self, adapter: str | None) -> bool:
        return adapter in self._alone

    @contextmanager
    def applied(self, slices: Sequence[RowSlice]) -> Iterator[None]:
        """Within: the model's forward uses these adapters on these rows.

        An adapter that needs its own pass must be the only variant of the batch.
        """
        variant = slices[0].variant
        if self.needs_own_pass(variant.adapter):
            with self._alone_through_peft(variant.adapter):
                yield
            return
        for layer in self._layers:
            layer.use(slices)
        try:
            yield
        finally:
            for layer in self._layers:
                layer.use(())

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Within: the bare base model, every module that PEFT put in replaced by the original."""
        replaced = []
        try:
            for parent, name, original, wrapper in self._injected_modules():
                setattr(parent, name, original)
                replaced.append((parent, name, wrapper))
            yield
        finally:
            for parent, name, wrapper in replaced:
                setattr(parent, name, wrapper)

    @contextmanager
    def _alone_through_peft(self, adapter: str) -> Iterator[None]:
        tuner = self._peft.base_model
        self._peft.set_adapter(adapter, inference_mode=True)
        tuner.enable_adapter_layers()
        for layer in self._layers:
            layer.left_to_peft = True
        try:
            yield
        finally:
            tuner.disable_adapter_layers()
            for layer in self._layers:
                layer.left_to_peft = False

    def _wrap_new_layers(self) -> None:
        from peft.tuners.lora import LoraLayer

        known = {id(layer.module) for layer in self._layers}
        for name, module in self.model.named_modules():
            if isinstance(module, LoraLayer) and id(module) not in known:
                self._layers.append(_MixedLayer(module, layer_number(name)))

    def _has_special_layer(self, name: str) -> bool:
        return any(layer.is_special(name) for layer in self._layers)

    def _injected_modules(self) -> list[tuple[nn.Module, str, nn.Module, nn.Module]]:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        found = []
        for parent in self.model.modules():
            for name, child in parent.named_children():
                if isinstance(child, BaseTunerLayer):
                    found.append((parent, name, child.get_base_layer(), child))
                elif isinstance(child, AuxiliaryTrainingWrapper):
                    found.append((parent, name, child.original_module, child))
        return found


def layer_number(module_name: str) -> int | None:
    """The first number in a module's dotted name: `model.layers.3.mlp.up_proj` is layer 3."""
    return next((int(part) for part in module_name.split(".") if part.isdigit()), None)


class _MixedLayer:
    """One LoRA layer whose forward adds each variant's low-rank update to its rows.

    PEFT's module stays in place with its parameters; only its `forward` is covered.
    """

    def __init__(self, module, number: int | None) -> None:
        self.module = module
        self.left_to_peft = False
        self._base_forward = _lean_forward(module.get_base_layer())
        self.number = number
        self._peft_forward = module.forward
        self._factors: dict[tuple[str, float], tuple[torch.Tensor, torch.Tensor]] = {}
        self._active: tuple[tuple[int, int, torch.Tensor, torch.Tensor], ...] = ()
        module.forward = self.forward

    def is_special(self, adapter: str) -> bool:
        """Whether the sum `base(x) + scaling · B(A x)` is not what PEFT computes here."""
        from torch import nn

        if adapter not in self.module.scaling:
            return False
        plain = adapter in self.module.lora_A and isinstance(self.module.lora_A[adapter], nn.Linear)
        return (
            not plain
            or adapter in self.module.lora_variant
            or self.module.lora_B[adapter].bias is not None
        )

    def use(self, slices: Sequence[RowSlice]) -> None:
        active = []
        for part in slices:
            factors = self._factors_of(part.variant)
            if factors is not None:
                active.append((part.start, part.stop, *factors))
        self._active = tuple(active)

    def forget(self, adapter: str) -> None:
        self._factors = {key: made for key, made in self._factors.items() if key[0] != adapter}

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """x (rows, positions, in_features) to (rows, positions, out_features)."""
        if self.left_to_peft:
            return self._peft_forward(x, *args, **kwargs)
        result = self._base_forward(x, *args, **kwargs)
        for start, stop, factor_a, factor_b in self._active:
            rows = x[start:stop].flatten(0, -2)
            part = result[start:stop].view(-1, result.shape[-1])
            if rows.dtype == part.dtype == factor_a.dtype:
                part.addmm_(rows.mm(factor_a), factor_b)
            else:
                part += (rows.to(factor_a.dtype) @ factor_a @ factor_b).to(part.dtype)
        return result

    def _factors_of(self, variant: Variant) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Aᵀ (in_features, rank) and strength · scaling · Bᵀ (rank, out_features), or None."""
        name, strength = variant.adapter, variant.use.strength
        if name not in self.module.scaling or self.number in variant.use.layers_off:
            return None
        if (name, strength) not in self._factors:
            while len(self._factors) >= MAX_FACTORS:
                del self._factors[next(iter(self._factors))]
            self._factors[name, strength] = self._made_factors(name, strength)
        return self._factors[name, strength]

    def _made_factors(self, name: str, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        scale = self.module.scaling[name] * strength
        factor_a = self.module.lora_A[name].weight.detach().t()
        factor_b = (self.module.lora_B[name].weight.detach() * scale).t()
        return factor_a, factor_b


def _lean_forward(base: nn.Module) -> Callable[..., torch.Tensor]:
    """The base layer's forward; for a plain linear layer without the cost of a module call."""
    from torch import nn
    from torch.nn.functional import linear

    if type(base) is not nn.Linear:
        return base
    return lambda x: linear(x, base.weight, base.bias)
