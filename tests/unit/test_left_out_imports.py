"""What a worker's libraries import without a need, and no longer do."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count()))
from lora_engine.library_imports import import_for_training
started = []
gc.callbacks.append(lambda phase, _: started.append(phase))
import_for_training()
searches = len(started)
gc.callbacks.clear()
assert searches < 20, searches  # hundreds otherwise
assert gc.isenabled() and gc.get_freeze_count() > 100_000
import transformers.loss.loss_utils
assert "scipy" not in sys.modules
assert "bitsandbytes" not in sys.modules  # only a spec says whether it is needed
import scipy.linalg
"""


@pytest.mark.slow
def test_a_worker_imports_no_scipy_nor_bitsandbytes_and_searches_for_no_garbage_meanwhile():
    done = subprocess.run([sys.executable, "-c", CODE], check=True, stdout=subprocess.PIPE)
    assert int(done.stdout) == 0  # the last search finds what is open, and closes it in silence
