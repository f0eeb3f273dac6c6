"""Singular values of any matrix, any weight and any adapter's update, exact where it can be.

    metrics        energy, errors, ranks and noise from singular values
    decomposition  what a matrix taken apart is; dense, band and randomized compute it
    tridiagonal    vectors of a large symmetric matrix, in its own memory
    svd            decompose(matrix), decompose_file(path, k): the `svd` command
    pooled         what the browser needs to move k; exact window; tile view
    samples        matrices to start from
    orthonormal    orthonormal columns by matrix products
    factors        the exact spectrum of B A without forming it; sums and differences
    update         a module's B A as a matrix to take apart
    adapter        a PEFT adapter folder as typed modules
    describe       describe_adapter(path): the `spectrum` command
    base_delta     an update beside its base weight; DoRA's true update
    checkpoints    compare_checkpoints(base, tuned)
    two_adapters   similarity(a, b): the `similarity` command

It knows nothing of pages or models in memory: everything is read from files in blocks.
"""

from lora_engine.cancellation import Stopped
from lora_engine.spectrum.adapter_factors import (
    Adapter,
    AdapterFile,
    AdapterModule,
    open_adapter,
    read_adapter,
)
from lora_engine.spectrum.adapter_spectrum import (
    AdapterSpectrum,
    ModuleSpectrum,
    describe_adapter,
    describe_module,
    module_place,
)
from lora_engine.spectrum.checkpoints import (
    CheckpointComparison,
    DifferenceSource,
    ModuleChange,
    compare_checkpoints,
    intruder_dimensions,
)
from lora_engine.spectrum.decomposition import (
    SHARES,
    Certificate,
    Decomposition,
    Summary,
    Truncation,
    choose_method,
)
from lora_engine.spectrum.delta_on_base import find_base_weight
from lora_engine.spectrum.delta_weight import FactorMatrix, update_matrix
from lora_engine.spectrum.low_rank_factors import Factors, factor_spectrum, factor_values, stack
from lora_engine.spectrum.metrics import NoiseView, effective_rank
from lora_engine.spectrum.pooled_view import PooledFactors, pool, pool_picture, tile_rms, window
from lora_engine.spectrum.progress import ReportProgress, WorkMonitor
from lora_engine.spectrum.samples import SAMPLES, TEACHING, sample
from lora_engine.spectrum.svd import (
    SvdReport,
    decompose,
    decompose_file,
    default_k,
    describe_method,
    report,
    takes_a_while,
    write_factors,
    write_rank_k,
    write_table,
)
from lora_engine.spectrum.two_adapters import (
    Interference,
    ModuleSimilarity,
    On,
    Side,
    Similarity,
    Verdict,
    interference_between,
    similarity,
    subspace_similarity,
)

__all__ = [
    "SAMPLES",
    "SHARES",
    "TEACHING",
    "Adapter",
    "AdapterFile",
    "AdapterModule",
    "AdapterSpectrum",
    "Certificate",
    "CheckpointComparison",
    "Decomposition",
    "DifferenceSource",
    "FactorMatrix",
    "Factors",
    "Interference",
    "ModuleChange",
    "ModuleSimilarity",
    "ModuleSpectrum",
    "NoiseView",
    "On",
    "PooledFactors",
    "ReportProgress",
    "Side",
    "Similarity",
    "Stopped",
    "Summary",
    "SvdReport",
    "Verdict",
    "Truncation",
    "WorkMonitor",
    "choose_method",
    "compare_checkpoints",
    "decompose",
    "decompose_file",
    "default_k",
    "describe_adapter",
    "describe_method",
    "describe_module",
    "effective_rank",
    "factor_spectrum",
    "factor_values",
    "find_base_weight",
    "interference_between",
    "intruder_dimensions",
    "module_place",
    "open_adapter",
    "pool",
    "pool_picture",
    "read_adapter",
    "report",
    "sample",
    "similarity",
    "stack",
    "subspace_similarity",
    "takes_a_while",
    "tile_rms",
    "update_matrix",
    "window",
    "write_factors",
    "write_rank_k",
    "write_table",
]
