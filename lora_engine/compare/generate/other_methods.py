"""Adapters of other methods than LoRA, put on a loaded base model: what each changes in a pass.

Prefix tuning, prompt tuning and P-tuning put trained tokens before every row. IA³, VeRA and LoHa
put modules of PEFT around the base's, and bottlenecks act after them. Either way the base's own
modules and weights stay as they are, and the adapter acts in passes of its own. Nothing here is
thread-safe.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from lora_engine.adapters.config import WEIGHTS_FILE
from lora_engine.adapters.kinds import OtherConfig
from lora_engine.adapters.other_check import OtherCheck
from lora_engine.adapters.other_weights import PROMPT, OtherAdapter
from lora_engine.compare.generate.adapter_refusals import does_not_fit, not_whole
from lora_engine.compare.generate.adapter_settings import AS_TRAINED, AdapterSettings
from lora_engine.compare.generate.swapped_modules import Place, SwappedModules
from lora_engine.generation.virtual_tokens import VirtualTokens
from lora_engine.library_imports import import_peft
from lora_engine.weights.tensors_in_memory import tensors_in_memory

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedModel

    from lora_engine.adapters.bottleneck_layers import Bottleneck

SHARED = (".vera_A.", ".vera_B.")  # each layer names VeRA's shared factors, which are saved once


class ActingModules(Protocol):
    """What of an adapter acts within the model."""

    def in_place(self, settings: AdapterSettings) -> AbstractContextManager[None]:
        """Within: it acts at this strength, but for the layers left out."""


@dataclass(frozen=True)
class OtherMethod:
    """One such adapter on the model: tokens before every row, or modules that act in it."""

    virtual: VirtualTokens | None = None
    modules: ActingModules = SwappedModules(())

    @contextmanager
    def applied(self, settings: AdapterSettings) -> Iterator[None]:
        """Within: its modules act. Its virtual tokens are the caller's to put into the cache."""
        with self.modules.in_place(settings):
            yield


@dataclass(frozen=True)
class BottleneckLayers:
    """Bottlenecks by the module of the model that each acts after."""

    model: PreTrainedModel
    layers: Mapping[str, Bottleneck]

    @contextmanager
    def in_place(self, settings: AdapterSettings) -> Iterator[None]:
        """Within: they act. At strength s one gives x + s · (layer(x) − x)."""
        from lora_engine.adapters.bottleneck_layers import in_place

        acting = {
            name: layer if settings.strength == 1.0 else _at_strength(layer, settings.strength)
            for name, layer in self.layers.items()
            if layer_number(name) not in settings.layers_off
        }
        with in_place(self.model, acting):
            yield


def put_on(model: PreTrainedModel, check: OtherCheck) -> OtherMethod:
    """A checked adapter on a bare model, which is bare again afterwards.

    Raises EngineError where it does not fit the model.
    """
    if check.config.kind == "bottleneck":
        return OtherMethod(modules=_bottlenecks(model, check.adapter))
    tensors = tensors_in_memory(check.path / WEIGHTS_FILE, str(model.device))
    if check.config.virtual_tokens:
        return OtherMethod(virtual=_virtual_tokens(model, check.config, tensors[PROMPT]))
    adapter = check.adapter
    try:
        config = check.config.to_peft(list(adapter.modules), adapter.feedforward)
        places, left_out = _places(model, config, tensors)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise does_not_fit(check, str(error)) from error
    if left_out:
        raise not_whole(check, left_out)
    return OtherMethod(modules=SwappedModules(places))


def _virtual_tokens(
    model: PreTrainedModel, config: OtherConfig, saved: torch.Tensor
) -> VirtualTokens:
    """Those of prefix tuning, prompt tuning or P-tuning: all else of them trains them only."""
    if config.kind != "prefix":
        return VirtualTokens.of_embeddings(model, saved)
    heads, layers = config.num_attention_heads, config.num_layers
    assert heads is not None, "the configuration of a prefix was checked"
    assert layers is not None, "the configuration of a prefix was checked"
    return VirtualTokens.of_prefix(model, saved, heads, layers)


def _bottlenecks(model: PreTrainedModel, adapter: OtherAdapter) -> BottleneckLayers:
    """Raises EngineError where the model has no such modules."""
    from lora_engine.adapters.bottleneck_layers import read_bottleneck

    layers = {name: one.to(model.device) for name, one in read_bottleneck(adapter).items()}
    made = BottleneckLayers(model, layers)
    with made.in_place(AS_TRAINED):  # finds every module, or says which is not there
        return made


def _at_strength(layer: Bottleneck, strength: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x + strength * (layer(x) - x)


def _places(
    model: PreTrainedModel, config: PeftConfig, tensors: Mapping[str, torch.Tensor]
) -> tuple[list[Place], list[str]]:
    """PEFT's modules around those of a bare model, and the keys that found no counterpart.

    Raises what PEFT raises where the adapter does not fit.
    """
    import_peft()
    from peft import PeftModel, set_peft_model_state_dict

    others = model.__dict__.pop("peft_config", None)  # PEFT would add this method to those there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is checked already
            peft = PeftModel(model, config)
            loaded: Any = set_peft_model_state_dict(peft, dict(tensors))
        peft.requires_grad_(False).eval()
        places = injected_places(model)
    finally:
        for place in injected_places(model):
            setattr(place.parent, place.name, place.original)
        model.__dict__.pop("peft_config", None)
        if others is not None:
            model.peft_config = others
    missing = [key for key in loaded.missing_keys if ".default" in key]
    own = [key for key in missing if not any(name in key for name in SHARED)]
    return places, [*own, *loaded.unexpected_keys]


def injected_places(model: nn.Module) -> list[Place]:
    """Every module of the model that PEFT put around one of the base's."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    found: list[Place] = []
    for path, parent in model.named_modules():
        for name, child in parent.named_children():
            number = layer_number(f"{path}.{name}")
            if isinstance(child, BaseTunerLayer):
                module = cast("nn.Module", child)
                found.append(Place(parent, name, module, child.get_base_layer(), number))
            elif isinstance(child, AuxiliaryTrainingWrapper):
                found.append(Place(parent, name, child, child.original_module, number))
    return found


def layer_number(module_name: str) -> int | None:
    """The first number in a module's dotted name: `model.layers.3.mlp.up_proj` is layer 3."""
    return next((int(part) for part in module_name.split(".") if part.isdigit()), None)
