"""The lines of `gpu_check.py` that are right or wrong; `gpu_check_speed` has those of speed.

    python benchmarks/gpu_check_lines.py LINE --device cuda|cpu [--tiny]

Each prints its figures as one JSON object. `failures` in it names what is not as it must be, and
makes the line a failed one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import _path  # noqa: F401
import memory_error
from gpu_check_speed import SPEED_LINES

PARITY = 1e-4  # relative, of a step's loss in float32
# A resumed run against an unbroken one. FlashAttention's backward pass adds up in any order.
RESUME = {"cpu": 1e-6, "cuda": 5e-3}
MEMORY = 0.15  # relative, of the predicted peak
STEPS = 5
CHOICES = {
    "checkpointing": {"optimization": {"gradient_checkpointing": True}},
    "offloaded": {"optimization": {"offload_activations": True}},
    "adamw_8bit": {"optimization": {"optimizer": "adamw_8bit"}},
    "paged_adamw": {"optimization": {"optimizer": "paged_adamw"}},
    "paged_adamw_8bit": {"optimization": {"optimizer": "paged_adamw_8bit"}},
    "adafactor": {"optimization": {"optimizer": "adafactor"}},
    "4 bits": {"quantization": {"bits": 4}},
    "8 bits": {"quantization": {"bits": 8}},
    "float32": {"optimization": {"precision": "float32"}},
    "float16": {"optimization": {"precision": "float16"}},
}
NEED_CARD = ("offloaded", "paged_adamw", "paged_adamw_8bit", "float16")


def card(device: str, _tiny: bool) -> dict:
    """The card, the driver and the versions."""
    import platform
    import shutil
    import subprocess

    import torch

    found = {"torch": torch.__version__, "python": platform.python_version()}
    if device == "cpu":
        return found
    if not torch.cuda.is_available():
        return found | {"failures": {"torch": f"{torch.__version__} finds no CUDA device"}}
    driver = "unknown"
    if tool := shutil.which("nvidia-smi"):
        asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return found | {
        "card": torch.cuda.get_device_name(),
        "capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "driver": driver,
    }


def parity(device: str, _tiny: bool) -> dict:
    """Our steps beside PEFT's own modules on padded rows, float32, from one start."""
    import torch
    from training_contenders import load_adapted
    from training_workload import Workload, make_model

    from lora_engine.training.forward.padded import PaddedPath
    from lora_engine.training.forward.select import choose_path
    from lora_engine.training.optimizers import factory

    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(folder, STEPS, 0.6, device=device)
        make_model(Path(workload.model), "llama")
        spec, rows = workload.spec(), workload.rows_in_order()
        batches = [rows[start : start + 8] for start in range(0, len(rows), 8)]
        losses = {}
        for name in ("peft", "ours"):
            model = load_adapted(workload, "float32")
            path = (
                PaddedPath(model, 0, device)
                if name == "peft"
                else choose_path(model, rows, 0, device)
            )
            optimizer = factory.make_optimizer(model, spec.method, spec.optimization)
            model.train()
            losses[name] = []
            for batch in map(path.collate, batches):
                loss = path.summed_loss(batch) / batch.supervised
                loss.backward()
                torch.nn.utils.clip_grad_norm_(factory.trained_parameters(model).values(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                losses[name].append(float(loss.detach()))
    apart = max(abs(a / b - 1) for a, b in zip(losses["ours"], losses["peft"], strict=True))
    found = {"loss_difference": apart, "path": path.description}
    return found if apart <= PARITY else found | {"failures": {"losses": f"{apart:.1e} apart"}}


def train(
    folder: Path, device: str, steps: int, stop_at: int | None = None, resume=False, **changes
):
    """A run of the starter in this process; its loss by step."""
    from lora_engine.environment import load_settings
    from lora_engine.run_folder import RunDirectory
    from lora_engine.spec import spec_from
    from lora_engine.training.loop import TrainingProgress
    from lora_engine.training.preparation import prepare
    from lora_engine.training.train_run import train_prepared

    optimization = {"max_steps": steps, "batch_size": 4, "learning_rate": 1e-3, "max_length": 128}
    document = {**changes, "report": {"samples": 0}, "dataset": {"source": "starter:pirate"}}
    document["optimization"] = optimization | changes.get("optimization", {})
    directory, progress = RunDirectory(folder), TrainingProgress()
    if not resume:
        directory.create(spec_from(document))
    settings = load_settings({"LORA_DATA_DIR": str(folder.parent), "LORA_DEVICE": device})
    run = prepare(directory, settings)
    train_prepared(run, resume, progress, lambda: progress.step == stop_at)
    return {row.step: row.loss for row in directory.metrics()}


def resume(device: str, _tiny: bool) -> dict:
    """Stopped after the fourth of eight steps and resumed, beside a run that was not."""
    with tempfile.TemporaryDirectory() as folder:
        whole = train(Path(folder) / "whole", device, 8)
        train(Path(folder) / "broken", device, 8, stop_at=4)
        again = train(Path(folder) / "broken", device, 8, resume=True)
    apart = max(abs(again[step] / loss - 1) for step, loss in whole.items())
    found = {"loss_difference": apart, "tolerance": RESUME[device]}
    late = {"losses": f"{apart:.1e} apart"} if apart > RESUME[device] else {}
    return found | ({"failures": late} if late else {})


def methods(device: str, tiny: bool) -> dict:
    """Five steps of every method."""
    from lora_engine.spec import WAYS, spec_from
    from lora_engine.spec.ways import fields_of_way

    def changes(way: str) -> dict:
        made: dict = {}
        for path, value in fields_of_way(way, spec_from({})).items():
            section, _, name = path.partition(".")
            if name:
                made.setdefault(section, {})[name] = value
            else:
                made[section] = value
        return made

    chosen = ("lora", "full", "ia3") if tiny else WAYS
    galore = {"method": {"finetuning_type": "galore"}}
    return each_trains(device, {way: changes(way) for way in chosen} | {"galore": galore})


def choices(device: str, tiny: bool) -> dict:
    """Five steps under each optimizer, quantization and precision."""
    chosen = {
        name: change
        for name, change in CHOICES.items()
        if (device == "cuda" or name not in NEED_CARD) and (not tiny or name != "8 bits")
    }
    return each_trains(device, chosen)


def each_trains(device: str, chosen: dict[str, dict]) -> dict:
    """The last loss of each; one that raises is a failure of its own, and the others go on."""
    losses, failures = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, change in chosen.items():
            try:
                losses[name] = train(Path(folder) / name, device, STEPS, **change)[STEPS]
            except Exception as error:  # noqa: BLE001 - a line of the table, told with its reason
                failures[name] = f"{type(error).__name__}: {error}"
    return {"losses": losses, "failures": failures}


def memory(device: str, tiny: bool) -> dict:
    """Predicted and measured peaks; on CUDA, max_memory_allocated. Each case in its own process."""
    cases = [memory_error.GRID[0]] if tiny else [memory_error.GRID[at] for at in (3, 9, 10)]
    found, failures = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for size in {case["size"] for case in cases}:
            memory_error.child("--make", size, "--folder", f"{folder}/{size}")
        for case in cases:
            model = f"{folder}/{case['size']}"
            told = ("--case", json.dumps(case), "--folder", model, "--device", device)
            row = json.loads(memory_error.child(*told).splitlines()[-1])
            name = " ".join(str(case[key]) for key in ("size", "batch", "length", "dtype"))
            name += " checkpointing" if case["checkpointing"] else ""
            error = row["predicted"] / row["measured"] - 1
            mib = {key: round(row[key] / 2**20) for key in ("predicted", "measured")}
            found[name] = {**mib, "error": round(error, 3)}
            if device == "cuda" and abs(error) > MEMORY:
                failures[name] = f"{error:+.0%}"
    return {"peaks_mib": found, "failures": failures}


LINES: dict[str, Callable[[str, bool], dict]] = {
    line.__name__: line for line in (card, parity, resume, methods, choices, memory)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("line", choices=[*LINES, *SPEED_LINES])
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    figures = (LINES | SPEED_LINES)[options.line](options.device, options.tiny)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
