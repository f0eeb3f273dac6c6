"""The optimizer that a spec names, over what trains, and its state as plain tensors.

Knows nothing of files. Which optimizers this machine can run is `availability`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lora_engine.errors import EngineError
from lora_engine.spec import MethodSpec, OptimizationSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

NUMBER = "#"  # marks a Python number among the state's tensors


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name to parameter, of everything that trains, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def make_optimizer(
    model: nn.Module, method: MethodSpec, optimization: OptimizationSpec
) -> torch.optim.Optimizer:
    """The optimizer over the trained weights; LoRA+ gives the B matrices their own rate.

    LoRA+: η_B = ratio · η_A (arXiv 2402.12354).
    """
    if method.finetuning_type == "galore":
        return _galore(model, method, optimization)
    groups = _groups(trained_parameters(model), method, optimization.learning_rate)
    return _named(optimization.optimizer, groups, optimization)


def _groups(
    named: Mapping[str, nn.Parameter], method: MethodSpec, rate: float
) -> list[dict[str, Any]]:
    ratio = method.loraplus_lr_ratio
    if ratio is None:
        return [{"params": list(named.values()), "lr": rate}]
    is_b = {name: ".lora_B." in name or ".lora_embedding_B." in name for name in named}
    return [
        {"params": [p for name, p in named.items() if not is_b[name]], "lr": rate},
        {"params": [p for name, p in named.items() if is_b[name]], "lr": rate * ratio},
    ]


def _named(
    name: str, groups: list[dict[str, Any]], optimization: OptimizationSpec
) -> torch.optim.Optimizer:
    rate, decay = optimization.learning_rate, optimization.weight_decay
    if name == "adamw":
        from torch.optim import AdamW

        return AdamW(groups, lr=rate, weight_decay=decay, fused=True)
    if name == "adafactor":
        from transformers.optimization import Adafactor

        # The rate is the schedule's alone, as Trainer sets it: B starts at zero, and steps in
        # proportion to a weight's own size would hardly move it.
        return Adafactor(
            groups, lr=rate, weight_decay=decay, scale_parameter=False, relative_step=False
        )
    from bitsandbytes import optim

    kinds = {
        "adamw_8bit": optim.AdamW8bit,
        "paged_adamw": optim.PagedAdamW32bit,
        "paged_adamw_8bit": optim.PagedAdamW8bit,
    }
    return kinds[name](groups, lr=rate, weight_decay=decay)


def _galore(
    model: nn.Module, method: MethodSpec, optimization: OptimizationSpec
) -> torch.optim.Optimizer:
    """The matrices of the layers in their subspaces; embeddings, head, norms and biases plain."""
    from lora_engine.training.optimizers.galore import GaLoreAdamW

    outside = {id(p) for e in _embeddings(model) for p in e.parameters()}
    named = trained_parameters(model).values()
    projected = [p for p in named if p.ndim == 2 and id(p) not in outside]
    chosen = {id(p) for p in projected}
    subspace = {
        "rank": method.rank,
        "update_every": method.galore_every,
        "scale": method.galore_scale,
    }
    groups = [
        {"params": projected, **subspace},
        {"params": [p for p in named if id(p) not in chosen]},
    ]
    rate = optimization.learning_rate
    return GaLoreAdamW(groups, lr=rate, weight_decay=optimization.weight_decay)


def _embeddings(model: nn.Module) -> Iterator[nn.Module]:
    yield model.get_input_embeddings()
    if model.get_output_embeddings() is not None:
        yield model.get_output_embeddings()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as tensors named `index.key`, and the random state as `rng`."""
    import torch

    tensors = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu().contiguous().clone()
            elif value is not None:
                wide = torch.float64 if isinstance(value, float) else torch.int64
                tensors[f"{index}.{key}{NUMBER}"] = torch.tensor(value, dtype=wide)
    tensors["rng"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng_cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, the random state included.

    Raises EngineError where it belongs to other parameters than these.
    """
    import torch

    parameters = list(_parameters(optimizer))
    for name, value in saved.items():
        index, _, key = name.partition(".")
        if not key:
            continue
        if int(index) >= len(parameters):
            raise EngineError(
                "The checkpoint's optimizer has more weights than this run trains.",
                "Start a new run; a resumed run must have the same method.",
            )
        parameter = parameters[int(index)]
        state = optimizer.state[parameter]
        if key.endswith(NUMBER):
            state[key.removesuffix(NUMBER)] = value.item()
        else:
            # torch's own optimizers count their steps on the host
            state[key] = value.clone() if key == "step" else value.to(parameter.device, copy=True)
    torch.set_rng_state(saved["rng"])
    if "rng_cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["rng_cuda"])


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
