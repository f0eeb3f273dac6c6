"""Adapters of fused experts: one parameter of a mixture's block holds the weights of all experts.

PEFT's ParamWrapper keeps the factors of E experts in one pair: A (E · rank, in), expert by expert,
and B (out, rank · E), rank by rank. This module takes them apart; it starts and trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

ADAPTER = "default"
WRAPPED = ".base_layer"


def expert_factors(
    model: PeftModel,
) -> Iterator[tuple[str, float, tuple[torch.Tensor, torch.Tensor]]]:
    """Each expert's name, scaling, and A (rank, in) and B (out, rank), named as Spectrum does."""
    for name, module in _wrappers(model):
        a, b = (factor[ADAPTER].weight for factor in (module.lora_A, module.lora_B))
        holder, experts = name.replace(WRAPPED, ""), module.num_experts
        all_a, all_b = a.reshape(experts, -1, a.shape[1]), b.reshape(b.shape[0], -1, experts)
        for expert in range(experts):
            number = f"{expert}." if experts > 1 else ""
            full = f"{holder}.{number}{module.parameter_name}"
            yield full, module.scaling[ADAPTER], (all_a[expert], all_b[:, :, expert])


def with_doubled_ranks(
    model: PeftModel, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The factors of the experts in a state dict, at twice the rank with zeros: the same update."""
    import torch

    doubled = {}
    for name, module in _wrappers(model):
        experts, key_a, key_b = (
            module.num_experts,
            f"{name}.lora_A.weight",
            f"{name}.lora_B.weight",
        )
        a, b = tensors[key_a], tensors[key_b]
        all_a, all_b = a.reshape(experts, -1, a.shape[1]), b.reshape(b.shape[0], -1, experts)
        doubled[key_a] = torch.cat([all_a, torch.zeros_like(all_a)], 1).flatten(0, 1)
        doubled[key_b] = torch.cat([all_b, torch.zeros_like(all_b)], 1).flatten(1, 2)
    return doubled


def refusal(error: ValueError) -> EngineError | None:
    """PEFT's refusal of an option that fused experts do not have, in plain words; else None."""
    words = str(error)
    if "ParamWrapper" not in words:
        return None
    options = {
        "use_dora": "DoRA",
        "lora_dropout": tr("LoRA dropout"),
        "lora_bias": tr("a bias on B"),
    }
    option = next((said for name, said in options.items() if name in words), tr("this option"))
    return EngineError(
        tr(
            "This base keeps the weights of its experts fused, and PEFT cannot adapt them "
            "with {option}.",
            option=option,
        ),
        tr(
            "Train without {option}, or choose target modules of attention only, such as "
            "q_proj and v_proj.",
            option=option,
        ),
    )


def _wrappers(model: PeftModel) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import ParamWrapper

    for name, module in model.named_modules():
        if isinstance(module, ParamWrapper) and ADAPTER in module.lora_A:
            yield name, module
