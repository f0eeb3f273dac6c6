"""What can be done with a trained adapter: resize, combine, extract, merge; each says its error.

service          AdapterOperations: what the engine offers
resize           an adapter at a smaller rank
resize_curve     what each possible size keeps
losses_beside    losses of adapters beside each other, on held-out and general rows
trials           adapters that are heard before they are kept
source_adapter   an adapter read module by module, and its form
written_adapter  the one writer of an adapter folder, whole or not there
output_folder    an output that is new, or replaces one of its own kind
"""

from lora_engine.adapter_operations.losses_beside import LossesBeside, RowsMeasured
from lora_engine.adapter_operations.resize import (
    ModuleResize,
    ResizeReport,
    ResizeTarget,
    ToEnergy,
    ToRank,
    ToThreshold,
    resize,
)
from lora_engine.adapter_operations.resize_curve import ResizeCurve, ResizePoint, resize_curve

__all__ = [
    "LossesBeside",
    "ModuleResize",
    "ResizeCurve",
    "ResizePoint",
    "ResizeReport",
    "ResizeTarget",
    "RowsMeasured",
    "ToEnergy",
    "ToRank",
    "ToThreshold",
    "resize",
    "resize_curve",
]
