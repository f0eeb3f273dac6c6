"""One LoRA layer that computes a mixed batch: each adapter acts on its own rows.

PEFT's own mixed batches find out anew in every layer which row belongs to whom, and call the base
layer through the module machinery. Here the rows of one adapter stand together, so a layer computes
the base once for the whole batch and adds `strength · scaling · B(A x)` to a slice of it. This
module knows nothing of files, columns or passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_engine.compare.generate.adapter_settings import AdapterVariant
from lora_engine.errors import EngineError
from lora_engine.language import tr

if TYPE_CHECKING:
    import torch
    from torch import nn

MAX_FACTORS = 8
"""Scaled copies of B that a layer keeps, one an adapter and strength: a strength curve asks for 21,
and each copy costs rank · out_features numbers."""


@dataclass(frozen=True)
class AdapterRows:
    """Rows [start, stop) of the batch use this variant."""

    variant: AdapterVariant
    start: int
    stop: int


class MixedLoraLayer:
    """Replaces the `forward` of one of PEFT's LoRA modules, which keeps its parameters.

    module: a LoraLayer that is an nn.Module too; PEFT has no one type for these. number: of the
    layer in the model, None outside the numbered layers.
    """

    def __init__(self, module: Any, number: int | None) -> None:
        self.module = module
        self.left_to_peft = False  # while PEFT's own forward computes the adapter
        self._base_forward = _fast_forward(module.get_base_layer())
        self.number = number
        self._peft_forward = module.forward
        self._factors: dict[tuple[str, float], tuple[torch.Tensor, torch.Tensor]] = {}
        self._active: tuple[tuple[int, int, torch.Tensor, torch.Tensor], ...] = ()
        self._rows = 0  # of the batch
        module.forward = self.forward

    def is_special(self, adapter: str) -> bool:
        """Whether PEFT computes something here that is not `base(x) + scaling · B(A x)`."""
        from torch import nn

        if adapter not in self.module.scaling:
            return False
        plain = adapter in self.module.lora_A and isinstance(self.module.lora_A[adapter], nn.Linear)
        return (
            not plain
            or adapter in self.module.lora_variant
            or self.module.lora_B[adapter].bias is not None
        )

    def activate(self, rows: Sequence[AdapterRows]) -> None:
        """Apply these variants to their rows from now on; none: the base alone.

        rows: every row of the batch in order, those of the base included.
        """
        self._rows = rows[-1].stop if rows else 0
        active = []
        for part in rows:
            factors = self._factors_of(part.variant)
            if factors is not None:
                active.append((part.start, part.stop, *factors))
        self._active = tuple(active)

    def forget(self, adapter: str) -> None:
        """Drop the scaled copies of an adapter that is removed."""
        self._factors = {key: made for key, made in self._factors.items() if key[0] != adapter}

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """x (rows, positions, in_features) to (rows, positions, out_features).

        Blocks with shared experts flatten x to (rows · positions, in_features); so is the result.
        """
        if self.left_to_peft:
            return self._peft_forward(x, *args, **kwargs)
        result = self._base_forward(x, *args, **kwargs)
        each = self._positions(x) if self._active and x.ndim == 2 else 1
        for first, last, factor_a, factor_b in self._active:
            start, stop = first * each, last * each
            rows = x[start:stop].flatten(0, -2)  # (rows · positions, in_features)
            # A view: what is added to it is added to the result, without a copy of the batch.
            part = result[start:stop].view(-1, result.shape[-1])  # (rows · positions, out_features)
            if rows.dtype == part.dtype == factor_a.dtype:
                part.addmm_(rows.mm(factor_a), factor_b)  # (n, rank) @ (rank, out_features)
            else:
                part += (rows.to(factor_a.dtype) @ factor_a @ factor_b).to(part.dtype)
        return result

    def _positions(self, x: torch.Tensor) -> int:
        """How many of the flattened rows of x belong to one row of the batch."""
        positions, over = divmod(x.shape[0], self._rows)
        if over or not positions:
            raise EngineError(
                tr(
                    "A layer of this model is given {shape} positions of {rows} rows, so it "
                    "cannot be told which belong to which adapter.",
                    shape=x.shape[0],
                    rows=self._rows,
                ),
                tr("Compare one adapter at a time."),
            )
        return positions

    def _factors_of(self, variant: AdapterVariant) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Aᵀ (in_features, rank) and strength · scaling · Bᵀ (rank, out_features).

        None where the variant does not act here: the base, another layer's adapter, a layer off.
        """
        name, strength = variant.adapter, variant.settings.strength
        if name is None or name not in self.module.scaling:
            return None
        if self.number in variant.settings.layers_off:
            return None
        if (name, strength) not in self._factors:
            while len(self._factors) >= MAX_FACTORS:
                del self._factors[next(iter(self._factors))]
            self._factors[name, strength] = self._scaled_factors(name, strength)
        return self._factors[name, strength]

    def _scaled_factors(self, name: str, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        scale = self.module.scaling[name] * strength
        factor_a = self.module.lora_A[name].weight.detach().t()
        factor_b = (self.module.lora_B[name].weight.detach() * scale).t()
        return factor_a, factor_b


def _fast_forward(base: nn.Module) -> Callable[..., torch.Tensor]:
    """The base layer's forward; for a plain linear layer without the cost of a module call."""
    from torch import nn
    from torch.nn.functional import linear

    if type(base) is not nn.Linear:
        return base
    return lambda x: linear(x, base.weight, base.bias)
