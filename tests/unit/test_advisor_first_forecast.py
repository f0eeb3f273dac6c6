"""A server's first forecast on the bundled base loads neither transformers' models nor PEFT."""

import subprocess
import sys

FORECAST = """
import sys
from lora_engine.advisor.earlier_runs import EarlierRuns
from lora_engine.advisor.forecast import forecast
from lora_engine.advisor.sampled_lengths import SampledLengths
from lora_engine.environment import load_settings
from lora_engine.spec import recipe_spec

settings = load_settings()
earlier = EarlierRuns(settings.runs_dir).now()
found = forecast(recipe_spec("pirate"), settings, earlier, SampledLengths())
assert found.chosen.memory_gib and found.chosen.seconds, found.chosen
heavy = {"peft", "bitsandbytes", "transformers.modeling_utils"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_the_first_forecast_needs_no_heavy_library(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LORA_DEVICE", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", FORECAST], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
