"""A base model with an adapter on it: made, restored, and saved as a plain PEFT adapter.

The saved adapter fits the original base model, also where its initialization changed the base
weights. Of files it knows only the adapter folder.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lora_engine.adapters.lora_config import keep_pattern_order, lora_config
from lora_engine.base_models.adaptable import left_out_in_words, without_gradient_in_words
from lora_engine.calculator.targets import (
    ALL_LINEAR,
    paths_all_linear_leaves_out,
    resolve_targets,
    target_names,
)
from lora_engine.errors import EngineError, FieldProblem, InvalidInput
from lora_engine.files import atomic_folder
from lora_engine.language import tr
from lora_engine.spec import MethodSpec, Task
from lora_engine.training.models import fused_experts
from lora_engine.training.models.lora_init import (
    ADAPTER,
    Factors,
    adapted_linears,
    factors_of,
    subtract_from_base,
)
from lora_engine.training.models.rank_bounds import rank_problems, sides_of
from lora_engine.training.models.trained_model import (
    CHAT_TEMPLATE,
    ModuleUpdate,
    restore_trained,
    trained_tensors,
)

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

log = logging.getLogger("lora_engine.training.worker")
ROUNDING = 1e-6  # rounding error of B A in float32, as a share of ‖B‖·‖A‖
START_A, START_B = "start.A.", "start.B."  # prefixes of the initial factors in a checkpoint


@dataclass
class AdaptedModel:
    """A frozen base and an adapter that trains. A TrainedModel.

    chat_template: the Jinja source the rows were written with, empty for none.
    initial_factors: A and B as they began, by module, where the initialization subtracted their
    product from the base weights.
    """

    model: PeftModel
    chat_template: str = ""
    initial_factors: dict[str, Factors] = field(default_factory=dict)
    saved_as: Literal["adapter", "model"] = "adapter"

    def tensors(self) -> dict[str, torch.Tensor]:
        initial: dict[str, torch.Tensor] = {}
        for name, (a, b) in self.initial_factors.items():
            initial |= {START_A + name: a.cpu(), START_B + name: b.cpu()}
        return {**trained_tensors(self.model), **initial}

    def restore(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's weights back, and subtract its initial factors from the base weights.

        The base weights must be as they were loaded, unless this model has its initial factors
        already. Raises EngineError where the names differ.
        """
        initial = {
            name.removeprefix(START_A): (tensor, saved[START_B + name.removeprefix(START_A)])
            for name, tensor in saved.items()
            if name.startswith(START_A)
        }
        trained = {k: v for k, v in saved.items() if not k.startswith((START_A, START_B))}
        restore_trained(self.model, trained)
        if initial and not self.initial_factors:
            subtract_from_base(self.model, initial)
            self.initial_factors = initial

    def save(self, folder: Path, provenance: bytes) -> None:
        with atomic_folder(folder) as staging:
            if self.initial_factors:
                _save_against_original(self.model, self.initial_factors, staging)
            else:
                # The base's own embeddings never belong into an adapter file.
                self.model.save_pretrained(str(staging), save_embedding_layers=False)
                keep_pattern_order(staging, _config_of(self.model))
            (staging / "README.md").unlink(missing_ok=True)
            if self.chat_template:
                (staging / CHAT_TEMPLATE).write_text(self.chat_template, "utf-8")
            (staging / "provenance.json").write_bytes(provenance)

    def updates(self) -> list[ModuleUpdate]:
        """Computed from the factors alone; for DoRA, without the change of the magnitudes."""
        linear = (
            (name, module.scaling[ADAPTER], factors_of(module))
            for name, module in adapted_linears(self.model)
        )
        return [self._update(*one) for one in (*linear, *fused_experts.expert_factors(self.model))]

    def _update(self, name: str, scaling: float, factors: Factors) -> ModuleUpdate:
        import numpy as np

        from lora_engine.spectrum import metrics
        from lora_engine.spectrum.low_rank_factors import Factors as LowRank
        from lora_engine.spectrum.low_rank_factors import factor_values

        a, b = factors
        if name in self.initial_factors:
            a, b = _minus_initial(a, b, self.initial_factors[name])
        scaled = scaling * b.detach()
        left, right = scaled.cpu().numpy(), a.detach().cpu().numpy()
        values = factor_values(LowRank(left, right))
        # Before the first step B A − B₀ A₀ is nothing but rounding errors. Their flat spectrum
        # would look like a high effective rank, so they count as zero.
        noise = ROUNDING * np.linalg.norm(left) * np.linalg.norm(right)
        values = np.where(values > noise, values, 0.0)
        return ModuleUpdate(
            name.removeprefix("base_model.model."),
            float(np.linalg.norm(values)),
            metrics.effective_rank(values),
        )


def add_adapter(
    base: PreTrainedModel, method: MethodSpec, quantized: bool, task: Task = "causal_lm"
) -> PeftModel:
    """The frozen base model with a new adapter whose weights are float32.

    Raises EngineError where a target or a module to save matches nothing or PEFT refuses it, or a
    rank exceeds a weight's smaller side. `preflight` finds most of these too, but only for local
    files.
    """
    from peft import get_peft_model, prepare_model_for_kbit_training

    targets = resolve_targets(base, method)
    if ALL_LINEAR in target_names(method):
        for sentence in left_out_in_words(base, paths_all_linear_leaves_out(base)):
            log.warning("%s", sentence)
    if quantized:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    _refuse_unknown_saved(base, method)
    try:
        resolved = method.model_copy(update={"target_modules": targets})
        model = get_peft_model(base, lora_config(resolved, task))
    except ValueError as error:
        if refused := fused_experts.refusal(error):
            raise refused from error
        raise EngineError(
            tr(
                "PEFT does not take the method on this base model: {split}",
                split=" ".join(str(error).split())[:300],
            ),
            tr("Change the target modules, the modules to save or the option that it names."),
        ) from error
    sides = sides_of(model)
    for sentence in without_gradient_in_words(base, sides):
        log.warning("%s", sentence)
    # An adapter to go on from keeps its rank, such as the doubled one that pissa leaves.
    problems = rank_problems(sides, method) if method.init_from is None else []
    if problems:
        raise InvalidInput(tr("The run"), problems, tr("Choose a smaller rank for these modules."))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _refuse_unknown_saved(base: PreTrainedModel, method: MethodSpec) -> None:
    """Raises InvalidInput for modules to save that PEFT would leave out without a word."""
    names = [name for name, _ in base.named_modules() if name]
    problems = [
        FieldProblem(
            "method.modules_to_save", tr("no module's name ends with {entry}", entry=f"{entry!r}")
        )
        for entry in method.modules_to_save
        if not any(name.endswith(entry) for name in names)
    ]
    if problems:
        endings = dict.fromkeys(name.rpartition(".")[2] for name in names)
        known = [ending for ending in endings if not ending.isdecimal()]
        raise InvalidInput(
            tr("The run"), problems, tr("The base has: {known}.", known=", ".join(known[:40]))
        )


def _minus_initial(a: torch.Tensor, b: torch.Tensor, initial: Factors) -> Factors:
    """B A − B₀ A₀ as one pair of factors, (2·rank, in) and (out, 2·rank)."""
    import torch

    a0, b0 = (tensor.to(a.device) for tensor in initial)
    return torch.cat([a, a0]), torch.cat([b, -b0], 1)


def _save_against_original(model: PeftModel, initial: Mapping[str, Factors], folder: Path) -> None:
    """Write an adapter of twice the rank that fits the base weights W as they were loaded.

    The trained model computes with (W − s·B₀A₀) + s·B A = W + s·[B, −B₀]·[A; A₀].
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name, factors in initial.items():
        key_a, key_b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        tensors[key_a], tensors[key_b] = _minus_initial(tensors[key_a], tensors[key_b], factors)
    for key, tensor in tensors.items():
        # Adapted embeddings have no initial factors: zeros double their rank with the others.
        if key.endswith((".lora_embedding_A", ".lora_embedding_B")):
            side = 0 if key.endswith("A") else 1
            tensors[key] = torch.cat([tensor, torch.zeros_like(tensor)], side)
    tensors |= fused_experts.with_doubled_ranks(model, tensors)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    doubled = _with_doubled_ranks(_config_of(model))
    doubled.save_pretrained(str(folder))
    keep_pattern_order(folder, doubled)


def _config_of(model: PeftModel) -> LoraConfig:
    from peft import LoraConfig

    config = model.peft_config[ADAPTER]
    assert isinstance(config, LoraConfig)
    return config


def _with_doubled_ranks(config: LoraConfig) -> LoraConfig:
    """The configuration with every rank doubled and every scaling unchanged.

    The scaling is alpha/rank, or alpha/√rank with rsLoRA.
    """
    doubled = copy.deepcopy(config)
    factor = 2**0.5 if config.use_rslora else 2
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    doubled.r *= 2
    doubled.lora_alpha *= factor  # type: ignore[assignment]  # PEFT says int, and takes a float
    doubled.rank_pattern = {name: 2 * rank for name, rank in ranks.items()}
    doubled.alpha_pattern = {name: factor * alpha for name, alpha in alphas.items()}
    doubled.inference_mode = True
    return doubled
