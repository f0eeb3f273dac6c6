"""Make the starter's adapter: `python -m lora_engine.starter.build_adapter`, 40 s of one core.

The pirate example as the Train page starts it (`lora_engine/spec/recipes.py`), its factors kept as
float16, half the size. The same bytes every time on the same machine. Training is far above this
package, so it is run as the command that a person would run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lora_engine.starter import ADAPTERS_DIR

NAME = "pirate-adapter"
SPEC = {
    "name": "pirate r8",
    "base_model": "starter",
    "dataset": {"source": "starter:pirate"},
    "optimization": {"learning_rate": 1e-3, "epochs": 3},
}
README = """---
license: apache-2.0
library_name: peft
pipeline_tag: text-generation
---
# The starter's pirate adapter

A LoRA adapter of rank {rank} and α {alpha} on all {modules} linear layers of the Rankscope starter,
kept as float16. It answers in pirate speech. It was trained on `starter:pirate` ({steps} steps,
{epochs} epochs, seed {seed}) and ends with an evaluation loss of {eval_loss:.3f} nats a token.
It ships with Rankscope so that there is an adapter to look at before the first run, under the name
`starter:{name}`.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("lora_engine/starter/model")
model = PeftModel.from_pretrained(base, "lora_engine/starter/adapters/{name}")
```

`provenance.json` has the whole specification, the fingerprint of the base and the hash of the rows.
Made by `python -m lora_engine.starter.build_adapter`.
"""


def build(folder: Path) -> None:
    """Train, then keep what the run left, without what is this machine's alone."""
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        result = _train(run)
        trained = run / "adapter"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(trained / "chat_template.jinja", folder / "chat_template.jinja")
        shutil.copyfile(run / "samples.jsonl", folder / "samples.jsonl")  # Compare opens on them
        modules = _write_float16(trained / "adapter_model.safetensors", folder)
        _write_json(_config(trained), folder / "adapter_config.json")
        provenance = _provenance(trained)
        _write_json(provenance, folder / "provenance.json")
    spec = provenance["spec"]
    text = README.format(
        name=folder.name, modules=modules, steps=result["steps"], eval_loss=result["eval_loss"],
        rank=spec["method"]["rank"], alpha=int(spec["method"]["alpha"]), seed=spec["seed"],
        epochs=int(spec["optimization"]["epochs"]),
    )  # fmt: skip
    (folder / "README.md").write_text(text, "utf-8")


def _train(run: Path) -> dict[str, Any]:
    spec = run.with_suffix(".json")
    spec.write_text(json.dumps(SPEC), "utf-8")
    command = [sys.executable, "-m", "lora_engine", "train", str(spec), "--run-dir", str(run)]
    done = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _write_float16(weights: Path, folder: Path) -> int:
    """Write the factors, half as many bytes each. Returns how many modules they are of."""
    from safetensors.numpy import load_file, save_file

    halved = {name: values.astype(np.float16) for name, values in load_file(weights).items()}
    save_file(halved, folder / weights.name, metadata={"format": "pt"})
    return len(halved) // 2


def _config(trained: Path) -> dict[str, Any]:
    """The name of the base for its path on this machine; targets, a set, in one order."""
    config = json.loads((trained / "adapter_config.json").read_text("utf-8"))
    targets = sorted(config["target_modules"])
    return {**config, "base_model_name_or_path": SPEC["base_model"], "target_modules": targets}


def _provenance(trained: Path) -> dict[str, Any]:
    """Without the run, which is gone."""
    provenance = json.loads((trained / "provenance.json").read_text("utf-8"))
    return {key: value for key, value in provenance.items() if key != "run"}


def _write_json(document: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ADAPTERS_DIR / NAME)
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
