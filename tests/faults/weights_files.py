"""What the attacks on weight files share: how a refusal is checked, and safetensors by hand."""

import json
import resource
import struct

import pytest

from lora_engine.errors import EngineError
from lora_engine.weights import open_matrix
from lora_engine.weights.matrix import to_array


def refused(path, match, **how):
    """Opening and reading the file raises an EngineError that matches; memory stays."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EngineError, match=match) as caught:
        to_array(open_matrix(path, **how))
    assert caught.value.remedy
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 * 1024


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
