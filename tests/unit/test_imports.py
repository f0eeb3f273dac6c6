"""What is loaded when: the dashboard must open without the libraries of a training run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate", "bitsandbytes", "scipy")


OF_WORKERS = ("loop", "objectives", "optimizers", "standby", "streaming", "train_run", "worker")


def _loaded_by(code: str, tmp_path: Path) -> set[str]:
    """The modules in a fresh process after `code`."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"LORA_DATA_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_app_loads_no_heavy_library_and_no_gradio(tmp_path: Path) -> None:
    loaded = _loaded_by("import app", tmp_path)

    assert loaded.isdisjoint({*HEAVY, "gradio", "pandas", "plotly", "numpy"})


def test_building_the_dashboard_loads_no_heavy_library(tmp_path: Path) -> None:
    code = "import app\nfrom lora_engine.environment import load_settings\n"
    loaded = _loaded_by(code + "app.create_app(load_settings())", tmp_path)

    assert "gradio" in loaded
    assert loaded.isdisjoint({*HEAVY, "plotly"})
    assert loaded.isdisjoint({f"lora_engine.training.{name}" for name in OF_WORKERS})


def test_the_engine_knows_no_screen(tmp_path: Path) -> None:
    loaded = _loaded_by("import lora_engine.engine, lora_engine.__main__", tmp_path)

    assert loaded.isdisjoint({"gradio", "plotly", "pages", *HEAVY})
