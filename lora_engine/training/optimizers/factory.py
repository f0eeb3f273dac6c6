"""The optimizer that a spec names, over the weights that train, and its state as plain tensors.

Knows nothing of files. `compatibility` knows which optimizers this machine can run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lora_engine.errors import EngineError
from lora_engine.language import tr
from lora_engine.spec import MethodSpec, OptimizationSpec

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

NUMBER = "#"  # ends the name of a saved value that was a Python number


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter that trains, by name, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def make_optimizer(
    model: nn.Module, method: MethodSpec, optimization: OptimizationSpec
) -> torch.optim.Optimizer:
    """The optimizer over the weights that train.

    LoRA+ gives the B matrices a learning rate of their own, η_B = ratio · η_A (arXiv 2402.12354).
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

        # The learning rate comes from the schedule alone, as with transformers' Trainer.
        # Adafactor's own steps are in proportion to a weight's size, and B starts at zero.
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
    """GaLore for the layers' matrices; plain AdamW for embeddings, head, norms and biases."""
    from transformers import PreTrainedModel

    from lora_engine.training.optimizers.galore import GaLoreAdamW

    assert isinstance(model, PreTrainedModel), "galore trains no adapter"
    outside = {id(p) for e in _embeddings(model) for p in e.parameters()}
    named = trained_parameters(model).values()
    projected = [p for p in named if p.ndim == 2 and id(p) not in outside]
    chosen = {id(p) for p in projected}
    subspace = {
        "rank": method.rank,
        "update_every": method.galore_every,
        "scale": method.galore_scale,
    }
    groups: list[dict[str, Any]] = [
        {"params": projected, **subspace},
        {"params": [p for p in named if id(p) not in chosen]},
    ]
    rate = optimization.learning_rate
    return GaLoreAdamW(groups, lr=rate, weight_decay=optimization.weight_decay)


def _embeddings(model: PreTrainedModel) -> Iterator[nn.Module]:
    yield model.get_input_embeddings()
    if model.get_output_embeddings() is not None:
        yield model.get_output_embeddings()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as CPU tensors named `index.key`, and torch's random state as `rng`."""
    import torch

    tensors = {}
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # bitsandbytes's pages are read on the host
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
    if torch.backends.mps.is_available():
        tensors["rng_mps"] = torch.mps.get_rng_state()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` returned, the random state included.

    Raises EngineError where it belongs to other parameters.
    """
    import torch

    parameters = list(_parameters(optimizer))
    for name, value in saved.items():
        index, _, key = name.partition(".")
        if not key:
            continue
        if int(index) >= len(parameters):
            raise EngineError(
                tr("The checkpoint's optimizer has more weights than this run trains."),
                tr("Start a new run; a resumed run must have the same method."),
            )
        parameter = parameters[int(index)]
        state = optimizer.state[parameter]
        if key.endswith(NUMBER):
            state[key.removesuffix(NUMBER)] = value.item()
        else:
            # torch's own optimizers count their steps on the host
            state[key] = value.clone() if key == "step" else _put_back(optimizer, parameter, value)
    torch.set_rng_state(saved["rng"])
    if "rng_cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["rng_cuda"])
    if "rng_mps" in saved and torch.backends.mps.is_available():
        torch.mps.set_rng_state(saved["rng_mps"])


def _put_back(
    optimizer: torch.optim.Optimizer, parameter: nn.Parameter, value: torch.Tensor
) -> torch.Tensor:
    """A tensor of the state where the optimizer keeps it: on the device, or in its own pages."""
    is_paged = getattr(optimizer, "is_paged", False) and parameter.device.type == "cuda"
    if is_paged and value.shape == parameter.shape:
        pages = optimizer.get_state_buffer(parameter, dtype=value.dtype)  # type: ignore[attr-defined]  # bitsandbytes's
        pages.copy_(value)
        return pages
    return value.to(parameter.device, copy=True)


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
