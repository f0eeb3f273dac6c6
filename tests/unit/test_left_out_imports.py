"""What a worker's libraries import without a need, and no longer do."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from lora_engine.library_imports import leave_out_scipy
leave_out_scipy()
import transformers.loss.loss_utils
assert "scipy" not in sys.modules
import scipy.linalg
"""


@pytest.mark.slow
def test_transformers_imports_no_scipy_and_others_can():
    subprocess.run([sys.executable, "-c", CODE], check=True)
