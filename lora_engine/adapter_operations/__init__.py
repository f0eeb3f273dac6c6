"""What can be done with a trained adapter: resize, combine, extract, merge; each says its error.

service          AdapterOperations: what the engine offers
resize           an adapter at a smaller rank
resize_curve     what each possible size keeps
interference     whether adapters will collide when they are combined
held_out_at_ranks  the loss an adapter would have at smaller ranks
losses_beside    losses of adapters beside each other, on held-out and general rows
trials           adapters that are heard before they are kept
combine          several adapters as one: exactly, or by TIES and DARE
extract          an adapter from a fully fine-tuned model
merge            an adapter added into its base's weights, proven on the written files
merge_bases      which weights an adapter can be merged into
merge_report     how to merge, and what came of it
merge_plan, merge_pieces, merge_proof, merged_model, merged_tensors, stored_*, sharded_weights,
model_folder, quantized_on_loading  the parts of merging
extraction_losses  base, tuned model and base with adapter on the same rows
extract_plan     what of two checkpoints differs, and in which form it is held
combine_sources  which adapters can be combined, and what goes along beside their factors
combine_factors  the arithmetic of combining: concatenation, TIES, DARE
source_adapter   an adapter read module by module, and its form
written_adapter  the one writer of an adapter folder, whole or not there
output_folder    an output that is new, or replaces one of its own kind
"""

from lora_engine.adapter_operations.combine import CombinedModule, CombineReport, combine
from lora_engine.adapter_operations.combine_factors import METHODS, Method
from lora_engine.adapter_operations.combine_sources import WeightedAdapter
from lora_engine.adapter_operations.extract import ExtractedModule, ExtractReport, extract
from lora_engine.adapter_operations.extraction_losses import ExtractionLosses, not_measured
from lora_engine.adapter_operations.held_out_at_ranks import (
    HeldOutAtRanks,
    RankLoss,
    held_out_at_ranks,
)
from lora_engine.adapter_operations.interference import (
    ModuleInterference,
    PredictedInterference,
    SourceInterference,
    predicted_interference,
)
from lora_engine.adapter_operations.losses_beside import LossesBeside, RowsMeasured
from lora_engine.adapter_operations.merge_bases import MergeBases
from lora_engine.adapter_operations.merge_report import (
    DType,
    MergedWeights,
    MergeOptions,
    MergeReport,
    Weights,
)
from lora_engine.adapter_operations.resize import (
    ModuleResize,
    ResizeReport,
    ResizeTarget,
    ToEnergy,
    ToRank,
    ToThreshold,
    ToVarianceShare,
    one_target,
    resize,
)
from lora_engine.adapter_operations.resize_curve import ResizeCurve, ResizePoint, resize_curve

__all__ = [
    "METHODS",
    "CombineReport",
    "CombinedModule",
    "ExtractReport",
    "ExtractedModule",
    "ExtractionLosses",
    "HeldOutAtRanks",
    "LossesBeside",
    "DType",
    "MergeBases",
    "MergeOptions",
    "MergeReport",
    "MergedWeights",
    "Method",
    "ModuleInterference",
    "ModuleResize",
    "PredictedInterference",
    "RankLoss",
    "ResizeCurve",
    "ResizePoint",
    "ResizeReport",
    "ResizeTarget",
    "RowsMeasured",
    "SourceInterference",
    "ToEnergy",
    "ToRank",
    "ToThreshold",
    "ToVarianceShare",
    "WeightedAdapter",
    "Weights",
    "combine",
    "extract",
    "held_out_at_ranks",
    "not_measured",
    "one_target",
    "predicted_interference",
    "resize",
    "resize_curve",
]
