"""One pass over the frozen base for the rows of several runs: exact, and less work.

The rows of all runs lie end to end in one packed batch, and each goes through the adapter of its
own run (`kernels.segmented_linear`). The gradients in each run's weights are those of the run
alone, up to the order of sums. The trunk, one more tree of modules over the shared weights, makes
the pass; the runs' own trees keep evaluating and saving. Knows nothing of optimizers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lora_engine.data import TokenizedRow
from lora_engine.training.forward.batches import IGNORED, ForwardPath
from lora_engine.training.forward.packed import PackedPath, pack
from lora_engine.training.objectives.objective import StepGradients

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from lora_engine.training.kernels.segmented_linear import Segment


class CannotShare(Exception):
    """These runs cannot make one pass; the message says why."""


@dataclass(frozen=True)
class SharedStep:
    """What a run brings into a pass: its path, the rows of each of its batches, its dropout."""

    path: PackedPath
    batches: Sequence[Sequence[TokenizedRow]]
    generator: torch.Generator

    @property
    def tokens(self) -> int:
        return sum(len(row.input_ids) for rows in self.batches for row in rows)

    @property
    def supervised(self) -> int:
        return max(1, sum(_supervised(rows) for rows in self.batches))


class OnePass:
    """Gradients of several runs from one pass for each of their batches."""

    def __init__(
        self,
        trunk: PreTrainedModel,
        given: Sequence[ForwardPath],
        side_by_side: bool | None = None,
    ) -> None:
        """trunk: a tree of modules of its own over the shared weights; it is changed.

        given: the paths of the runs. side_by_side: as in `TrunkLinears`; on a GPU where None.
        Raises CannotShare where a run's gradients would not come out as they do alone.
        """
        paths = [path for path in given if isinstance(path, PackedPath) and path.chunked_head]
        if len(paths) < len(given):
            raise CannotShare("rows are not packed, or the head does more than a product")
        for path in paths:
            _refuse_unlike(path, paths[0])
        _refuse_dropout_of_its_own(trunk)
        on_gpu = paths[0].device == "cuda"
        self._linears = TrunkLinears(trunk, paths, on_gpu if side_by_side is None else side_by_side)
        self._trunk, self._device, self._multiple = trunk, paths[0].device, paths[0].multiple
        self._linears.install()
        trunk.set_attn_implementation(paths[0].causal_lm.config._attn_implementation)
        trunk.train()  # for gradient checkpointing, which eval mode turns off

    def keep(self, paths: Sequence[ForwardPath]) -> None:
        """Let go of the adapters of all other runs."""
        self._linears.keep({id(path.model) for path in paths})

    def gradients(self, steps: Sequence[SharedStep]) -> list[StepGradients]:
        """Fill the gradients of every run's weights for one optimizer step of each.

        The seconds of the passes are shared out by tokens.
        """
        started = time.perf_counter()
        losses = [0.0] * len(steps)
        for number in range(max(len(step.batches) for step in steps)):
            present = [i for i, step in enumerate(steps) if number < len(step.batches)]
            summed = self._summed_losses([(steps[i], steps[i].batches[number]) for i in present])
            means = [s / steps[i].supervised for i, s in zip(present, summed, strict=True)]
            # No run's weights are in another's loss, so the sum gives each its own gradient.
            sum(means[1:], means[0]).backward()
            for i, mean in zip(present, means, strict=True):
                losses[i] += float(mean.detach())
        seconds = (time.perf_counter() - started) / sum(step.tokens for step in steps)
        return [
            StepGradients(loss, step.tokens, seconds * step.tokens)
            for loss, step in zip(losses, steps, strict=True)
        ]

    def _summed_losses(
        self, parts: Sequence[tuple[SharedStep, Sequence[TokenizedRow]]]
    ) -> list[torch.Tensor]:
        """Σ −log p(token) over the supervised tokens of each run's rows, float32 (nats)."""
        from lora_engine.training.kernels.head_loss import summed_head_loss

        batch = pack([row for _, rows in parts for row in rows], self._device, self._multiple)
        self._linears.present = list(_places(parts))
        hidden = self._trunk.base_model(**batch.model_inputs()).last_hidden_state[0]
        counts = [_supervised(rows) for _, rows in parts]
        predicting = hidden.index_select(0, batch.predicting).split(counts)
        head: Any = self._trunk.get_output_embeddings()
        return [
            summed_head_loss(own, head, targets)
            for own, targets in zip(predicting, batch.targets.split(counts), strict=True)
        ]


class TrunkLinears:
    """The trunk's linear layers under the adapters of the runs in a pass.

    The LayerLinears of `kernels.fused_layers`. present: the runs of the pass, and their tokens.
    side_by_side: which of the ways of `kernels.segmented_linear`.
    """

    def __init__(
        self, trunk: PreTrainedModel, paths: Sequence[PackedPath], side_by_side: bool
    ) -> None:
        self._trunk = trunk
        self._adapters: dict[nn.Module, dict[int, Any]] = {}
        self.present: list[tuple[slice, SharedStep]] = []
        self.side_by_side = side_by_side
        for path in paths:
            for name, adapted in _adapted_linears(path):
                module = trunk.get_submodule(name)
                self._adapters.setdefault(module, {})[id(path.model)] = adapted
        if not self.fit(*self._adapters):
            raise CannotShare("an adapter is on another module than a linear layer")

    def install(self) -> None:
        """Let these compute what the trunk's modules compute."""
        from lora_engine.training.kernels import fused_layers

        for module in self._adapters:
            module.forward = partial(self._one_output, module)
        fused_layers.install(self._trunk, self)

    def keep(self, models: set[int]) -> None:
        for adapters in self._adapters.values():
            for gone in adapters.keys() - models:
                del adapters[gone]

    def fit(self, *modules: Any) -> bool:
        from lora_engine.training.kernels.segmented_linear import frozen_linear

        return all(frozen_linear(module) is not None for module in modules)

    def outputs(self, x: torch.Tensor, *modules: Any) -> tuple[torch.Tensor, ...]:
        """Raises CannotShare where the layers do not see all tokens of the pass in their order."""
        from lora_engine.training.kernels.segmented_linear import (
            frozen_linear,
            segmented_linears,
            side_by_side_linears,
        )

        if x.numel() // x.shape[-1] < self.present[-1][0].stop:
            raise CannotShare("a layer sees only some of the tokens")
        frozen = [layer for layer in map(frozen_linear, modules) if layer is not None]
        compute = side_by_side_linears if self.side_by_side else segmented_linears
        return compute(x, frozen, list(self._segments(modules)))

    def _segments(self, modules: Sequence[nn.Module]) -> Iterator[Segment]:
        from lora_engine.training.kernels.fused_linear import layer_tensors
        from lora_engine.training.kernels.segmented_linear import Segment

        for tokens, step in self.present:
            of_run = [self._adapters.get(m, {}).get(id(step.path.model)) for m in modules]
            adapters = {i: layer_tensors(own) for i, own in enumerate(of_run) if own is not None}
            yield Segment(tokens, adapters, step.generator)

    def _one_output(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return self.outputs(x, module)[0]


def _adapted_linears(path: PackedPath) -> Iterator[tuple[str, Any]]:
    """The adapted layers of a run by their names in the base. Raises CannotShare for other kinds
    than plain LoRA."""
    from peft.tuners.lora import LoraLayer

    from lora_engine.training.kernels.fused_linear import is_plain_lora

    for name, module in path.causal_lm.named_modules():
        if isinstance(module, LoraLayer):
            if not is_plain_lora(module):
                raise CannotShare("an adapter is no plain LoRA")
            yield name, module


def _refuse_unlike(path: PackedPath, first: PackedPath) -> None:
    """Raises CannotShare where a run's own path computes what the pass does not."""
    from peft.tuners.lora import LoraLayer

    implementation = first.causal_lm.config._attn_implementation
    if path.causal_lm.config._attn_implementation != implementation:
        raise CannotShare("the runs compute attention in different ways")
    layers = [module for module in path.causal_lm.modules() if isinstance(module, LoraLayer)]
    drops = any(getattr(d, "p", 0.0) for layer in layers for d in layer.lora_dropout.values())
    # Numbers dropped once more in the backward pass, or for tokens that fill a batch up, would be
    # other ones than those of the run alone.
    if drops and (path.multiple > 1 or path.causal_lm.is_gradient_checkpointing):
        raise CannotShare("dropout would drop other numbers than it does alone")


def _refuse_dropout_of_its_own(trunk: PreTrainedModel) -> None:
    from torch.nn import Dropout

    for module in trunk.modules():
        share = module.p if isinstance(module, Dropout) else getattr(module, "attention_dropout", 0)
        if share:
            raise CannotShare("the base has dropout of its own")


def _places(
    parts: Sequence[tuple[SharedStep, Sequence[TokenizedRow]]],
) -> Iterator[tuple[slice, SharedStep]]:
    """The tokens of each run among those of the pass."""
    start = 0
    for step, rows in parts:
        end = start + sum(len(row.input_ids) for row in rows)
        yield slice(start, end), step
        start = end


def _supervised(rows: Sequence[TokenizedRow]) -> int:
    """The tokens that have a loss: nothing predicts a row's first."""
    return sum(label != IGNORED for row in rows for label in row.labels[1:])
