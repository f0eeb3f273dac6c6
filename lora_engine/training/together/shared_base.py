"""One frozen base under several adapters: a tree of modules for each, the weights there once.

Every run puts its adapter on a tree of its own, as if the base were its own. Nothing trains in the
base, so that no run sees the others.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def share_weights(base: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules of `base` whose parameters are those of `base` themselves.

    Buffers are copied; they are small. What bitsandbytes keeps beside a 4-bit weight is shared.
    """
    shared = {id(parameter): parameter for parameter in base.parameters()}
    states = (getattr(module, "quant_state", None) for module in base.modules())
    return copy.deepcopy(base, {**shared, **{id(s): s for s in states if s is not None}})
