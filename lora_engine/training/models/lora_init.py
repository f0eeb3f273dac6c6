"""Initial values of an adapter's A and B, computed from the base weights or from rows.

    pissa   W = U S Vᵀ,  s·B A = U_r S_r V_rᵀ                      arXiv 2404.02948
    olora   W = Q R,     s·B A = s·Q_r R_r                         arXiv 2406.01775
    loftq   W − Q(W) = U S Vᵀ,  s·B A = U_r S_r V_rᵀ               arXiv 2310.08659, one step
    eva     A = the main directions of the module's inputs, B = 0  arXiv 2410.07170

s is the module's scaling. pissa and olora subtract s·B A from the base weight, so that the model
computes at first what it computed before. Their initial factors are therefore saved in checkpoints
and subtracted from the finished adapter. loftq leaves the quantized base alone. PEFT's own
initializations (default, gaussian, orthogonal) are not here; adapted embeddings and fused experts
keep the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from torch import nn

    from lora_engine.training.forward.padded import PaddedBatch

CHANGES_BASE = ("pissa", "olora")  # these subtract s·B A from the base weights
ADAPTER = "default"
PREFIX = "base_model.model."
EXACT_SIDE = 2048  # smaller side up to which the SVD is exact; beyond it, it is randomized
POWER_ITERATIONS = 16  # as in the PiSSA paper's fast variant

Factors = tuple["torch.Tensor", "torch.Tensor"]  # A (rank, in), B (out, rank)


def init_from_weights(model: PeftModel, init: str) -> dict[str, Factors]:
    """Set A and B by pissa or olora and subtract their product from the base weights.

    Returns the initial factors by module.
    """
    import torch

    factorize = {"pissa": _pissa, "olora": _olora}[init]
    initial = {}
    with torch.no_grad():
        for name, module in adapted_linears(model):
            a, b = factorize(_weight(module).float(), module.r[ADAPTER], module.scaling[ADAPTER])
            _set_factors(module, a, b)
            initial[name] = (a.clone(), b.clone())
    subtract_from_base(model, initial)
    return initial


def subtract_from_base(model: PeftModel, initial: Mapping[str, Factors]) -> None:
    """W ← W − s·B A for each module's initial factors, on base weights as they were loaded.

    Raises EngineError where the factors belong to other modules.
    """
    import torch

    modules = dict(adapted_linears(model))
    if set(modules) != set(initial):
        raise EngineError(
            tr("The checkpoint's initial factors belong to other modules than this run adapts."),
            tr("Start a new run; a resumed run must have the same method."),
        )
    with torch.no_grad():
        for name, (a, b) in initial.items():
            weight = _weight(modules[name])
            changed = weight.float() - modules[name].scaling[ADAPTER] * (b @ a).to(weight.device)
            weight.copy_(changed)


def init_from_quantization(model: PeftModel, folder: Path) -> None:
    """LoftQ: set s·B A to the best rank-r approximation of each weight's quantization error.

    folder: the base model's, for its weights before they were quantized. Raises EngineError where
    a weight is not found there.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit

    from lora_engine.weights.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    with torch.no_grad():
        for name, module in adapted_linears(model):
            stored: Any = module.get_base_layer().weight  # bitsandbytes' Params4bit
            dequantized = dequantize_4bit(stored.data, stored.quant_state).float()  # (out, in)
            key = f"{name.removeprefix(PREFIX)}.weight"
            error = torch.from_numpy(checkpoint.tensor(key)).to(dequantized) - dequantized
            _set_factors(module, *_pissa(error, module.r[ADAPTER], module.scaling[ADAPTER]))


def init_from_rows(model: PeftModel, batches: Sequence[PaddedBatch]) -> None:
    """EVA: set A to the main directions of each module's inputs at the supervised tokens.

    Every module keeps the rank of the spec (the paper's ρ = 1; a larger ρ moves ranks between
    modules). Raises EngineError where a batch has fewer supervised tokens than the rank.
    """
    import torch
    from peft import EvaConfig, LoraConfig
    from peft.tuners.lora.eva import get_eva_state_dict

    inputs = [
        {"input_ids": b.input_ids, "attention_mask": b.attention_mask, "labels": b.labels}
        for b in batches
    ]
    config = model.peft_config[ADAPTER]
    assert isinstance(config, LoraConfig)
    config.eva_config = EvaConfig(rho=1.0)
    try:
        found = get_eva_state_dict(model, inputs, show_progress_bar=False)
    except ValueError as error:
        if "unpack" in str(error):  # PEFT expects (rows, positions, in_features)
            raise EngineError(
                tr(
                    "EVA cannot be computed on this base: one of the adapted modules, such "
                    "as a mixture's experts, is given the positions of all rows in one list."
                ),
                tr("Choose target modules of attention only, or another init."),
            ) from error
        raise EngineError(
            tr("EVA cannot be computed from these rows: {error}", error=error),
            tr("Choose a larger batch, a lower rank, or another init."),
        ) from error
    finally:
        config.eva_config = None
    with torch.no_grad():
        for name, module in adapted_linears(model):
            directions = found[name][: module.r[ADAPTER]]  # (up to rank, in)
            a, _ = factors_of(module)
            a[: len(directions)] = directions


def adapted_linears(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Every adapted linear module with its name in `model`; embeddings and the parameters of
    fused experts are left out."""
    from peft.tuners.lora import LoraLayer, ParamWrapper

    for name, module in model.named_modules():
        if isinstance(module, ParamWrapper):
            continue
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield name, module


def factors_of(module: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    """The module's own A (rank, in) and B (out, rank)."""
    a: Any = module.lora_A[ADAPTER]
    b: Any = module.lora_B[ADAPTER]
    return a.weight, b.weight


def _weight(module: LoraLayer) -> torch.Tensor:
    """The base weight as (out, in), sharing its memory."""
    base: Any = module.get_base_layer()
    weight = base.weight.data
    # transformers' Conv1D (GPT-2) has its weight the other way round.
    return weight.T if getattr(module, "fan_in_fan_out", False) else weight


def _set_factors(module: LoraLayer, a: torch.Tensor, b: torch.Tensor) -> None:
    own_a, own_b = factors_of(module)
    own_a.copy_(a)
    own_b.copy_(b)


def _pissa(weight: torch.Tensor, rank: int, scaling: float) -> Factors:
    """A = √(S_r / s) V_rᵀ and B = U_r √(S_r / s) of a weight (out, in)."""
    import torch

    if min(weight.shape) <= EXACT_SIDE:
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    else:
        u, s, v = torch.svd_lowrank(weight, q=rank, niter=POWER_ITERATIONS)
        vh = v.T
    root = (s[:rank] / scaling).sqrt()  # (rank,)
    return _padded(root[:, None] * vh[:rank], u[:, :rank] * root, rank)


def _olora(weight: torch.Tensor, rank: int, scaling: float) -> Factors:
    """A = R_r and B = Q_r of a weight (out, in); the scaling is part of what is subtracted."""
    import torch

    q, r = torch.linalg.qr(weight)
    return _padded(r[:rank], q[:, :rank], rank)


def _padded(a: torch.Tensor, b: torch.Tensor, rank: int) -> Factors:
    """The factors filled up to `rank` with zeros, where the weight's smaller side is below it."""
    from torch.nn.functional import pad

    missing = rank - a.shape[0]
    return pad(a, (0, 0, 0, missing)).contiguous(), pad(b, (0, missing)).contiguous()
