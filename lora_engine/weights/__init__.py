"""Reading matrices and checkpoints that others wrote: one way in, checked before it is used.

    limits             how much of anything is read, each bound in one place
    matrix             a 2-D matrix given out in blocks of rows or columns, always finite
    safetensors_file   our own scan of a safetensors header, and reading from it (no torch)
    checkpoint         one safetensors file or a model folder, shards and 4-bit weights included
    without_mean       a matrix whose mean is subtracted
    numpy_file  csv_file  picture  pickle_file   the other kinds of file
    kinds              what a file is, by its content; a name that lies is refused
    reader             list_tensors(path) and open_matrix(path, tensor): what everybody calls

It knows nothing of spectra, models or pages.
"""

from lora_engine.weights.checkpoint import Checkpoint, open_checkpoint
from lora_engine.weights.matrix import (
    ArrayMatrix,
    Flatten,
    MatrixSource,
    TensorInfo,
    array_matrix,
    describe_shape,
    flattenings,
)
from lora_engine.weights.reader import list_tensors, open_matrix, parse_matrix
from lora_engine.weights.without_mean import WithoutMean

__all__ = [
    "ArrayMatrix",
    "Checkpoint",
    "Flatten",
    "MatrixSource",
    "TensorInfo",
    "WithoutMean",
    "array_matrix",
    "describe_shape",
    "flattenings",
    "list_tensors",
    "open_checkpoint",
    "open_matrix",
    "parse_matrix",
]
