"""A base model with a fresh adapter on it, its optimizer, and both as plain tensors.

All of PEFT that training needs is called here: the spec's words become PEFT's, and the trained
weights go in and out by name. Knows nothing of files but the adapter folder PEFT itself writes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_engine.errors import EngineError
from lora_engine.training.run_directory import sync_directory
from lora_engine.training.spec import MethodSpec, OptimizationSpec

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def lora_config(method: MethodSpec) -> LoraConfig:
    """PEFT's configuration for the spec's method."""
    from peft import LoraConfig

    starts = {"default": True, "gaussian": "gaussian", "orthogonal": "orthogonal"}
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=method.target_modules,
        use_rslora=method.use_rslora,
        use_dora=method.use_dora,
        init_lora_weights=starts[method.init],
        rank_pattern=dict(method.rank_pattern),
        alpha_pattern=method.consistent_alpha_pattern(),
        modules_to_save=list(method.modules_to_save) or None,
    )


def add_adapter(base: PreTrainedModel, method: MethodSpec, quantized: bool) -> PeftModel:
    """The base, frozen, with a fresh adapter whose weights are float32.

    Raises EngineError where the targets match nothing, or a pattern names no module.
    """
    from peft import get_peft_model, prepare_model_for_kbit_training

    if quantized:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    try:
        model = get_peft_model(base, lora_config(method))
    except ValueError as error:
        raise EngineError(
            f"The adapter does not fit the base model: {error}",
            "Choose target modules that the base model has, or all-linear.",
        ) from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def make_optimizer(
    model: PeftModel, method: MethodSpec, optimization: OptimizationSpec
) -> torch.optim.Optimizer:
    """AdamW over the trained weights; LoRA+ gives the B matrices their own rate.

    LoRA+: η_B = ratio · η_A (arXiv 2402.12354).
    """
    import torch

    named = trained_parameters(model)
    rate = optimization.learning_rate
    ratio = method.loraplus_lr_ratio
    if ratio is None:
        groups = [{"params": list(named.values()), "lr": rate}]
    else:
        is_b = {name: ".lora_B." in name or ".lora_embedding_B." in name for name in named}
        groups = [
            {"params": [p for name, p in named.items() if not is_b[name]], "lr": rate},
            {"params": [p for name, p in named.items() if is_b[name]], "lr": rate * ratio},
        ]
    return torch.optim.AdamW(groups, lr=rate, weight_decay=optimization.weight_decay)


def trained_parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """Name to parameter, of everything that trains, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def trained_tensors(model: PeftModel) -> dict[str, torch.Tensor]:
    """The trained weights as contiguous CPU tensors, for a checkpoint."""
    return {
        name: parameter.detach().cpu().contiguous().clone()
        for name, parameter in trained_parameters(model).items()
    }


def restore_trained(model: PeftModel, saved: Mapping[str, torch.Tensor]) -> None:
    """Put a checkpoint's weights back. Raises EngineError where the names do not agree."""
    import torch

    parameters = trained_parameters(model)
    if set(parameters) != set(saved):
        raise EngineError(
            "The checkpoint holds other weights than this run trains.",
            "Start a new run; a resumed run must have the same method.",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as tensors named `index.key`, and the random state as `rng`."""
    import torch

    tensors = {
        f"{index}.{key}": value.detach().cpu().contiguous()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    tensors["rng"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng_cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, the random state included."""
    import torch

    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in saved.items():
        index, _, key = name.partition(".")
        if key:
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    torch.set_rng_state(saved["rng"])
    if "rng_cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["rng_cuda"])


def save_adapter(model: PeftModel, folder: Path, provenance: bytes) -> None:
    """Write a plain PEFT adapter with `provenance.json` into `folder`, whole or not at all."""
    staging = folder.with_name(f".{folder.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    # The base's own embeddings never belong into an adapter file.
    model.save_pretrained(str(staging), safe_serialization=True, save_embedding_layers=False)
    (staging / "README.md").unlink(missing_ok=True)
    (staging / "provenance.json").write_bytes(provenance)
    for path in staging.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(staging, folder)
    sync_directory(folder.parent)
