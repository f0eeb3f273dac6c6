"""A tracker that is not installed is refused before the first step, with the package to install.

That the installed ones get every step is `integration/test_training_trackers.py`.
"""

import sys

import pytest

from lora_engine.errors import EngineError
from lora_engine.run_folder import RunDirectory
from lora_engine.spec import spec_from
from lora_engine.training.reporting.trackers import open_trackers

TRACKERS = ["tensorboard", "wandb", "trackio"]


@pytest.mark.parametrize("name", TRACKERS)
def test_one_that_is_not_installed_is_refused_with_the_remedy(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    spec = spec_from({"report": {"report_to": [name]}})
    with pytest.raises(EngineError, match=f"pip install {name}"):
        open_trackers(spec, RunDirectory(tmp_path))


def test_none_is_imported_unless_it_is_named(tmp_path, monkeypatch):
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
    assert open_trackers(spec_from({}), RunDirectory(tmp_path)) == []
