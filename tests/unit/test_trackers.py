"""Curves go to the trackers that a spec names, and to none that is not installed."""

import sys

import pytest

from lora_engine.errors import EngineError
from lora_engine.training.run_directory import MetricsRow, RunDirectory
from lora_engine.training.spec import spec_from
from lora_engine.training.trackers import open_trackers

ROWS = [
    MetricsRow(
        seq=0, step=step, epoch=0.1, loss=2.0 / step, learning_rate=1e-4, grad_norm=1.0, tokens=10,
        tokens_per_s=1.0, elapsed_s=1.0, memory_bytes=1, total_steps=2, eval_loss=evaluated,
    )
    for step, evaluated in ((1, None), (2, 0.5))
]  # fmt: skip
TRACKER = """
calls = []

class Run:
    def log(self, numbers, step):
        calls.append((step, numbers["loss"], numbers.get("eval_loss")))

    def finish(self):
        calls.append("finished")

def init(project, name, config):
    calls.append((project, name, config["seed"]))
    return Run()
"""
TENSORBOARD = """
calls = []

class SummaryWriter:
    def __init__(self, folder):
        calls.append(folder.name)

    def add_text(self, name, text):
        calls.append(name)

    def add_scalar(self, name, value, step):
        if name == "loss":
            calls.append((step, value))

    def close(self):
        calls.append("closed")
"""


def report(name, tmp_path):
    directory = RunDirectory(tmp_path / "run-1")
    (tracker,) = open_trackers(spec_from({"report": {"report_to": [name]}}), directory)
    for row in ROWS:
        tracker.log(row)
    tracker.close()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_hosted_tracker_gets_the_spec_and_every_step(name, tmp_path, monkeypatch):
    (tmp_path / f"{name}.py").write_text(TRACKER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    report(name, tmp_path)
    calls = sys.modules[name].calls
    assert calls == [("rankscope", "run-1", 0), (1, 2.0, None), (2, 1.0, 0.5), "finished"]
    monkeypatch.delitem(sys.modules, name)


def test_tensorboard_gets_every_step_in_the_runs_own_folder(tmp_path, monkeypatch):
    """Through torch's own name for it, with a stand-in for the package behind."""
    from types import ModuleType

    stand_in = ModuleType("torch.utils.tensorboard")
    exec(TENSORBOARD, stand_in.__dict__)
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    report("tensorboard", tmp_path)
    assert stand_in.calls == ["tensorboard", "spec", (1, 2.0), (2, 1.0), "closed"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_one_that_is_not_installed_is_refused_with_the_remedy(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=f"pip install {name}"):
        report(name, tmp_path)
