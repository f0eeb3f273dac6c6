"""Houlsby's bottleneck layers: two small ones in sequence in every layer of a model.

After attention and after the MLP, before what they give is added to the residual stream:
x + W_up act(W_down x + b_down) + b_up, with W_down (h, m), W_up (m, h) of width h over the model's
m (Houlsby et al., arXiv 1902.00751, section 2.1; their layer norms are left as they are). W_up and
b_up start at zero, so the model starts unchanged. PEFT has no such method, so the folder has a
`peft_type` that PEFT refuses by its name; `load_bottleneck` reads it. Knows nothing of training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lora_engine.adapters.config import CONFIG_FILE, WEIGHTS_FILE
from lora_engine.adapters.other_forms import BOTTLENECK
from lora_engine.adapters.other_weights import OtherAdapter, read_other
from lora_engine.adapters.weights_keys import PREFIX
from lora_engine.adapters.whole import refuse_non_finite
from lora_engine.base_models.layer_list import layers_of
from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.weights.tensors_in_memory import tensors_in_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "bottleneck"
ATTENTION_WORDS = ("attn", "attention")
MLP_WORDS = ("mlp", "feed_forward", "feedforward", "ffn", "moe")
Layer = Callable[[torch.Tensor], torch.Tensor]
"""What acts after a module: a bottleneck, or one at another strength."""
ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


class Bottleneck(nn.Module):
    """x (…, width) to x + up(activation(down(x))), computed in the layer's own dtype."""

    def __init__(self, width: int, size: int, activation: str) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        self.activation = ACTIVATIONS[activation]()
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.activation(self.down(x.to(self.down.weight.dtype)))
        return x + self.up(inner).to(x.dtype)


def places_of(model: nn.Module) -> dict[str, nn.Module]:
    """The attention and the MLP of each layer, by their names in the model.

    Raises EngineError where a layer has not one of each.
    """
    layers = layers_of(model)
    found: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        for words in (ATTENTION_WORDS, MLP_WORDS):
            at = [(child, module) for child, module in layer.named_children() if _is(child, words)]
            if len(at) != 1:
                have = ", ".join(child for child, _ in layer.named_children())
                raise EngineError(
                    tr(
                        "The layers of {name__} do not have one attention and one MLP to put "
                        "a bottleneck after: {name} has {have}.",
                        name__=type(model).__name__,
                        name=name,
                        have=have,
                    ),
                    tr("Choose another method, such as lora."),
                )
            child, module = at[0]
            found[f"{name}.{child}"] = module
    return found


def add_bottleneck(model: PreTrainedModel, size: int, activation: str) -> dict[str, Bottleneck]:
    """New layers on the model, as modules of it that train; the rest of it is frozen.

    Returns them by the name of the module that each stands after. Raises as `places_of`.
    """
    width = model.config.get_text_config().hidden_size
    places = places_of(model)
    model.requires_grad_(False)
    made = {name: Bottleneck(width, size, activation) for name in places}
    for name, module in places.items():
        device = next(module.parameters()).device
        module.add_module(NAME, made[name].to(device))
        module.register_forward_hook(_after)
    return made


def save_bottleneck(
    layers: Mapping[str, Bottleneck], folder: Path, base_model: str, size: int, activation: str
) -> None:
    """Write the two files of an adapter into `folder`, in the form that `read_other` reads."""
    from safetensors.torch import save_file

    document = {
        "peft_type": BOTTLENECK,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "bottleneck_size": size,
        "activation": activation,
        "read_by": f"{load_bottleneck.__module__}.{load_bottleneck.__name__}",
    }
    (folder / CONFIG_FILE).write_text(json.dumps(document, indent=2), "utf-8")
    tensors = {
        f"{PREFIX}{name}.{NAME}.{part}": tensor.detach().cpu().contiguous()
        for name, layer in layers.items()
        for part, tensor in layer.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_bottleneck(model: PreTrainedModel, folder: Path | str) -> PreTrainedModel:
    """Put the saved layers on the model they were trained on, for good, and return it.

    Raises NotFound, EngineError for a folder that is not whole, and where the model has no such
    modules.
    """
    adapter = read_other(Path(folder))
    refuse_non_finite(adapter.file)
    layers = read_bottleneck(adapter)
    places = _checked_places(model, layers)
    for name, module in places.items():
        device = next(module.parameters()).device
        module.add_module(NAME, layers[name].to(device))
        module.register_forward_hook(_after)
    return model


def read_bottleneck(adapter: OtherAdapter) -> dict[str, Bottleneck]:
    """The layers of a whole adapter, by the module that each stands after; for inference."""
    config, tensors = adapter.config, tensors_in_memory(adapter.path / WEIGHTS_FILE)
    layers = {}
    for name, keys in adapter.modules.items():
        width = adapter.width or 0
        layer = Bottleneck(width, config.bottleneck_size or 0, config.activation or "gelu")
        parts = {part.removeprefix(f"{NAME}."): tensors[key] for part, key in keys.items()}
        layer.load_state_dict(parts)
        layers[name] = layer.requires_grad_(False).eval()
    return layers


@contextmanager
def in_place(model: nn.Module, layers: Mapping[str, Layer]) -> Iterator[None]:
    """Within: the layers act after their modules. The model is as it was afterwards.

    Raises EngineError where the model has no such modules.
    """
    hooks: list[Any] = []
    try:
        for name, module in _checked_places(model, layers).items():
            hooks.append(module.register_forward_hook(_acting(layers[name])))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _checked_places(model: nn.Module, layers: Mapping[str, Layer]) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    if missing := [name for name in layers if name not in modules]:
        raise EngineError(
            tr(
                "The adapter has a bottleneck after {missing}, and {name__} has no such module.",
                missing=missing[0],
                name__=type(model).__name__,
            ),
            tr("Choose the base model that this adapter was trained on."),
        )
    return {name: modules[name] for name in layers}


def _after(module: Any, _: Any, output: Any) -> Any:
    return _applied(module.bottleneck, output)


def _acting(layer: Layer) -> Any:
    return lambda _module, _inputs, output: _applied(layer, output)


def _applied(layer: Layer, output: Any) -> Any:
    """The layer on what a module gives: hidden states, alone or first of a tuple."""
    if isinstance(output, tuple):
        return (layer(output[0]), *output[1:])
    return layer(output)


def _is(child: str, words: tuple[str, ...]) -> bool:
    """Whether a layer's child is its attention or its MLP, by name, and no norm beside it."""
    return any(word in child.lower() for word in words) and "norm" not in child.lower()
