"""How an adapter's A and B start where PEFT's own start is not meant: from weights or from rows.

    pissa   W = U S Vᵀ,  s·B A = U_r S_r V_rᵀ                      arXiv 2404.02948
    olora   W = Q R,     s·B A = s·Q_r R_r                         arXiv 2406.01775
    loftq   W − Q(W) = U S Vᵀ,  s·B A = U_r S_r V_rᵀ               arXiv 2310.08659, one step
    eva     A = the main directions of the module's inputs, B = 0  arXiv 2410.07170

s is the module's scaling. pissa and olora take s·B A out of the base weight, so that the model
starts as it was; their start must be remembered (a checkpoint holds it) and taken out again of
what is saved. loftq leaves the quantized base alone. Embeddings keep PEFT's start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.errors import EngineError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    from lora_engine.training.forward.padded import PaddedBatch

MOVES_BASE = ("pissa", "olora")
ADAPTER = "default"
PREFIX = "base_model.model."
EXACT_SIDE = 2048  # up to this side a full SVD; beyond it, power iterations
POWER_ITERATIONS = 16  # as the PiSSA paper's fast variant

Factors = tuple["torch.Tensor", "torch.Tensor"]  # A (rank, in), B (out, rank)


def start_from_weights(model: PeftModel, init: str) -> dict[str, Factors]:
    """Set A and B by pissa or olora and take their product out of the base. Returns the start."""
    import torch

    factorise = {"pissa": _pissa, "olora": _olora}[init]
    started = {}
    with torch.no_grad():
        for name, module in adapted_linears(model):
            a, b = factorise(_weight(module).float(), module.r[ADAPTER], module.scaling[ADAPTER])
            _set_factors(module, a, b)
            started[name] = (a.clone(), b.clone())
    take_out_of_base(model, started)
    return started


def take_out_of_base(model: PeftModel, started: Mapping[str, Factors]) -> None:
    """W ← W − s·B A for a remembered start, on a base as it was loaded."""
    import torch

    modules = dict(adapted_linears(model))
    if set(modules) != set(started):
        raise EngineError(
            "The checkpoint's start belongs to other modules than this run adapts.",
            "Start a new run; a resumed run must have the same method.",
        )
    with torch.no_grad():
        for name, (a, b) in started.items():
            weight = _weight(modules[name])
            moved = weight.float() - modules[name].scaling[ADAPTER] * (b @ a).to(weight.device)
            weight.copy_(moved)


def start_from_quantization(model: PeftModel, folder: Path) -> None:
    """Set A and B to the best rank-r answer to what 4-bit storage lost of each weight.

    folder: the base's own, for its weights before they were quantized. Raises EngineError where
    a weight is not found there.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit

    from lora_engine.weights.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    with torch.no_grad():
        for name, module in adapted_linears(model):
            stored = module.get_base_layer().weight
            kept = dequantize_4bit(stored.data, stored.quant_state).float()
            key = f"{name.removeprefix(PREFIX)}.weight"
            lost = torch.from_numpy(checkpoint.tensor(key)).to(kept) - kept
            _set_factors(module, *_pissa(lost, module.r[ADAPTER], module.scaling[ADAPTER]))


def start_from_rows(model: PeftModel, batches: Sequence[PaddedBatch]) -> None:
    """Set A to the main directions of each module's inputs on the batches' supervised tokens.

    Ranks stay as asked for (the paper's ρ = 1). Raises EngineError where a batch has fewer
    supervised tokens than the rank.
    """
    import torch
    from peft import EvaConfig
    from peft.tuners.lora.eva import get_eva_state_dict

    inputs = [
        {"input_ids": b.input_ids, "attention_mask": b.attention_mask, "labels": b.labels}
        for b in batches
    ]
    config = model.peft_config[ADAPTER]
    config.eva_config = EvaConfig(rho=1.0)
    try:
        found = get_eva_state_dict(model, inputs, show_progress_bar=False)
    except ValueError as error:
        raise EngineError(
            f"EVA cannot start from these rows: {error}",
            "Choose a larger batch or a lower rank, or another start.",
        ) from error
    finally:
        config.eva_config = None
    with torch.no_grad():
        for name, module in adapted_linears(model):
            directions = found[name][: module.r[ADAPTER]]
            module.lora_A[ADAPTER].weight[: len(directions)] = directions


def adapted_linears(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Every adapted module that has a matrix weight in and out, by its name in `model`."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield name, module


def _weight(module: LoraLayer) -> torch.Tensor:
    """The base weight as (out, in), sharing its memory."""
    weight = module.get_base_layer().weight.data
    return weight.T if getattr(module, "fan_in_fan_out", False) else weight


def _set_factors(module: LoraLayer, a: torch.Tensor, b: torch.Tensor) -> None:
    module.lora_A[ADAPTER].weight.copy_(a)
    module.lora_B[ADAPTER].weight.copy_(b)


def _pissa(weight: torch.Tensor, rank: int, scaling: float) -> Factors:
    import torch

    if min(weight.shape) <= EXACT_SIDE:
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    else:
        u, s, v = torch.svd_lowrank(weight, q=rank, niter=POWER_ITERATIONS)
        vh = v.T
    root = (s[:rank] / scaling).sqrt()
    return _padded(root[:, None] * vh[:rank], u[:, :rank] * root, rank)


def _olora(weight: torch.Tensor, rank: int, scaling: float) -> Factors:
    import torch

    q, r = torch.linalg.qr(weight)
    return _padded(r[:rank], q[:, :rank], rank)


def _padded(a: torch.Tensor, b: torch.Tensor, rank: int) -> Factors:
    """The factors with zero rows and columns up to a rank above the weight's own."""
    from torch.nn.functional import pad

    missing = rank - a.shape[0]
    return pad(a, (0, 0, 0, missing)).contiguous(), pad(b, (0, missing)).contiguous()
