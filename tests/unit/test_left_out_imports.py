"""What a worker's libraries import or read without a need, and no longer do."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import atexit, collections, gc, os, sys
atexit.register(lambda: print(gc.get_freeze_count()))
from lora_engine.training.first_imports import import_for_training
listed, found = collections.Counter(), []
def hear(event, words):
    if event == "os.scandir":
        listed[os.fspath(words[0])] += 1
    elif event == "ctypes.dlsym" and words[1] == "dlopen":
        found.append("torch" in sys.modules)
sys.addaudithook(hear)
started = []
gc.callbacks.append(lambda phase, _: started.append(phase))
import_for_training()
searches = len(started)
gc.callbacks.clear()
assert searches < 20, searches  # hundreds otherwise
assert gc.isenabled() and gc.get_freeze_count() > 100_000
import transformers.models, transformers.utils.import_utils as reader
import torch
models = transformers.models.__path__[0]
assert [listed[name] for name in listed if name.startswith(models)].count(1) > 200
assert max(listed[name] for name in listed if name.startswith(models)) == 1, listed.most_common(3)
assert "first_imports" not in repr(reader.create_import_structure_from_path)
assert transformers.models.llama.LlamaConfig is transformers.LlamaConfig
library = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
if os.path.exists(library) and not torch.version.cuda:
    assert found == [False], found  # asked for once, before torch's own import
import transformers.loss.loss_utils
assert "scipy" not in sys.modules
assert "bitsandbytes" not in sys.modules  # only a spec says whether it is needed
import scipy.linalg
"""


@pytest.mark.slow
def test_a_worker_imports_and_reads_nothing_in_vain_and_searches_for_no_garbage_meanwhile():
    done = subprocess.run([sys.executable, "-c", CODE], check=True, stdout=subprocess.PIPE)
    assert int(done.stdout) == 0  # the last search finds what is open, and closes it in silence
