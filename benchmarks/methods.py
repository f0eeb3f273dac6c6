"""The same task by every method: what each trains, takes and reaches, side by side in one go.

    python benchmarks/methods.py [--json] [--dataset pirate] [--steps 60] [--only lora,prefix]

A run for each method is submitted to a fresh data folder, one after the other, on the starter; each
has the learning rate that suits it, the same rows, batches and steps. When all have ended, the
answers of each are timed beside the base's. The held-out loss after so few steps says how a method
starts, not where it ends.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

import _path  # noqa: F401

from lora_engine.cli.methods import print_report
from lora_engine.engine import Engine
from lora_engine.environment import load_settings
from lora_engine.measured_methods import task_spec
from lora_engine.spec import WAYS
from lora_engine.starter import DATASET_NAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dataset", choices=DATASET_NAMES, default="pirate")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", default=",".join(WAYS))
    options = parser.parse_args()
    ways = [way for way in WAYS if way in options.only.split(",")]
    spec = task_spec("starter", f"starter:{options.dataset}", options.steps)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(load_settings({"LORA_DATA_DIR": folder}))
        group = engine.methods.submit(spec, ways).id
        while not engine.methods.report(group).is_over:
            time.sleep(1.0)
            engine.runs.refresh()
        report = engine.methods.measure_answers(group)
    if options.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        print_report(report)


if __name__ == "__main__":
    main()
