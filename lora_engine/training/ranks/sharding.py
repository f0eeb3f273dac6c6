"""A frozen base divided over the devices of a run: FSDP2, torch's `fully_shard`.

Each device keeps an equal part of every decoder layer and fetches the other parts just before the
layer computes, forward and backward. Embeddings, norms and head stay whole on each. The adapter and
its gradients are left out of it and are whole on each device too, so that the optimizer, the
checkpoints and the result are those of an undivided base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    from torch import nn


def shard_layers(decoder: nn.Module, device: str, count: int) -> int:
    """Divide the frozen weights of the decoder's layers over `count` devices. Returns how many
    layers there are.

    decoder: the module that runs the layers, on the host or on the device. Raises EngineError
    where it has no list of layers.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, torch.nn.ModuleList):
        raise EngineError(
            tr(
                "The layers of {name} are not found, so fsdp cannot divide them.",
                name=type(decoder).__name__,
            ),
            tr("Set optimization.sharding to none."),
        )
    mesh = init_device_mesh(device, (count,))
    for layer in layers:
        trained = {one for one in layer.parameters() if one.requires_grad}
        fully_shard(layer, mesh=mesh, ignored_params=trained)
    divided = {one for layer in layers for one in layer.parameters()}
    whole = {one for one in decoder.parameters() if one not in divided}
    trained = {one for one in divided if one.requires_grad}
    fully_shard(decoder, mesh=mesh, ignored_params=whole | trained)
    decoder.to(device)
    # What is first gathered in inference mode could not be trained through afterwards.
    with torch.no_grad():
        decoder(input_ids=torch.zeros((1, 2), dtype=torch.long, device=device))
    return len(layers)
