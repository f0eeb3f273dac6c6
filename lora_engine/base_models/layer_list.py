"""Which of a model's modules are its layers, whatever they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from torch import nn


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The model's layers in their order, by name: its list of modules that holds the most weights.

    Raises EngineError where the model has no such list.
    """
    from torch.nn import ModuleList

    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, ModuleList)]
    if not lists:
        raise EngineError(
            tr(
                "{name__} has no list of layers, so it is unknown where they are.",
                name__=type(model).__name__,
            ),
            tr("Choose another method, such as lora."),
        )
    name, largest = max(lists, key=lambda one: sum(p.numel() for p in one[1].parameters()))
    return {f"{name}.{number}": layer for number, layer in enumerate(largest)}
