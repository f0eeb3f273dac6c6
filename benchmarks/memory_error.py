"""Predicted memory against measured, over a grid of small models, each trained in its own process.

The model is made at random, saved, loaded and trained for a few steps through the worker's own
functions. Measured are, on the CPU, the peak resident size above the process's size before the
model was loaded; on CUDA, `max_memory_allocated`. The physical items (weights, adapter, gradients,
optimizer) are summed over the live tensors.

    python benchmarks/memory_error.py [--json] [--device cpu|cuda]

The margins are refitted from the measured cases at the end; the errors are under the stated ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import _path  # noqa: F401

SIZES = {
    "small": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6}
    | {"num_attention_heads": 6, "num_key_value_heads": 6, "vocab_size": 4000},
    "medium": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 10}
    | {"num_attention_heads": 12, "num_key_value_heads": 4, "vocab_size": 16000},
}
KEYS = ("size", "rank", "batch", "length", "dtype", "bits", "checkpointing")
GRID = [
    dict(zip(KEYS, case, strict=True))
    for case in (
        ("small", 8, 2, 128, "float32", None, False),
        ("small", 64, 8, 256, "float32", None, False),
        ("small", 64, 8, 256, "float32", None, True),
        ("small", 8, 4, 512, "bfloat16", None, False),
        ("small", 8, 4, 256, "float32", 4, False),
        ("medium", 8, 1, 256, "float32", None, False),
        ("medium", 8, 4, 512, "float32", None, False),
        ("medium", 8, 4, 512, "float32", None, True),
        ("medium", 64, 8, 256, "float32", None, False),
        ("medium", 8, 4, 512, "bfloat16", None, False),
        ("medium", 8, 4, 512, "bfloat16", None, True),
        ("medium", 8, 2, 256, "float32", 4, False),
        ("medium", 64, 4, 512, "float32", 4, True),
    )
]
STEPS = 3
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_model(options.make, Path(options.folder))
    elif options.case:
        print(json.dumps(measure(json.loads(options.case), Path(options.folder), options.device)))
    else:
        report(run_grid(options.device), options.json)


def run_grid(device: str) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            child("--make", size, "--folder", f"{folder}/{size}")
        for case in GRID:
            model = f"{folder}/{case['size']}"
            made = child("--case", json.dumps(case), "--folder", model, "--device", device)
            rows.append(case | json.loads(made.splitlines()[-1]))
            print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def child(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def make_model(size: str, folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SIZES[size], max_position_embeddings=1024, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(folder)


def measure(case: dict, folder: Path, device: str) -> dict:
    """Train the case for STEPS steps in this process; bytes predicted and measured."""
    import torch

    from lora_engine import host_memory
    from lora_engine.base_models import BaseModel, load_base_model
    from lora_engine.training.forward.select import choose_path
    from lora_engine.training.kernels import matmul
    from lora_engine.training.memory import prediction, usage
    from lora_engine.training.models import adapter_model
    from lora_engine.training.optimizers import factory

    spec = spec_of(case)
    if case["bits"]:
        import bitsandbytes  # noqa: F401 - part of the baseline, as everything loaded

    request = prediction.request_of(
        spec, folder, device, case["dtype"], case["batch"] * case["length"], 1.0
    )
    prediction.predict(request, 0)
    baseline = usage.memory_bytes(device) if device == "cpu" else 0
    predicted = prediction.predict(request, baseline)
    reset_peak()
    if device == "cpu":
        host_memory.share_one_heap()
        if case["dtype"] == "float32":
            matmul.limit_kernel_cache()
            matmul.use("onednn")
        if case["bits"] or case["checkpointing"]:  # as training/models/assemble.py does
            host_memory.return_large_blocks()
    base = load_base_model(
        BaseModel(case["size"], folder), device, getattr(torch, case["dtype"]), spec.quantization
    )
    if case["checkpointing"]:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = adapter_model.add_adapter(base, spec.method, spec.quantization is not None)
    optimizer = factory.make_optimizer(model, spec.method, spec.optimization)
    after_load = peak_bytes(device)
    rows = rows_of(case)
    path = choose_path(model, rows, 0, device)
    for step in range(STEPS):
        batch = path.collate(rows)
        (path.summed_loss(batch) / batch.supervised).backward()
        if step < STEPS - 1:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    held = physical_bytes(model, optimizer)
    estimate = prediction.estimate_memory(request)
    gradients = next(item.gib for item in estimate.items if item.name == "gradients")
    expected = estimate.gib_of("weights", "state") + gradients
    return {
        "path": path.description,
        **predicted.model_dump(),
        "predicted": predicted.total_bytes,
        "measured": peak_bytes(device) - baseline,
        "measured_after_load": after_load - baseline,
        "physical_predicted": round(expected * 2**30),
        "physical_measured": held,
    }


def spec_of(case: dict):
    from lora_engine.spec import spec_from

    bits = case["bits"]
    return spec_from(
        {
            "method": {"rank": case["rank"], "target_modules": "all-linear"},
            "quantization": {"bits": bits, "type": "nf4", "double": True} if bits else None,
            "optimization": {
                "batch_size": case["batch"],
                "max_length": case["length"],
                "gradient_checkpointing": case["checkpointing"],
            },
        }
    )


def rows_of(case: dict) -> list:
    import random

    from lora_engine.data import TokenizedRow

    draw = random.Random(0)
    vocabulary = SIZES[case["size"]]["vocab_size"]
    made = [
        tuple(draw.randrange(vocabulary) for _ in range(case["length"]))
        for _ in range(case["batch"])
    ]
    return [TokenizedRow(i, row, row, False) for i, row in enumerate(made)]


def physical_bytes(model, optimizer) -> int:
    """Weights with their quantization constants, gradients, and optimizer state, as they live."""
    tensors = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)]
    tensors += [v for state in optimizer.state.values() for v in state.values()]
    for parameter in model.parameters():
        constants = getattr(parameter, "quant_state", None)
        if constants is not None:
            tensors.append(constants.absmax)
            if constants.nested:
                tensors.append(constants.state2.absmax)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def reset_peak() -> None:
    """Let the kernel forget the peak so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This kernel tells no peak.")


def report(rows: list[dict], as_json: bool) -> None:
    from lora_engine.training.memory.prediction import MemoryRecord, Prediction, refit_margins

    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    physical = [abs(row["physical_predicted"] / row["physical_measured"] - 1) for row in rows]
    records = [
        MemoryRecord(str(i), Prediction(**row), row["measured"]) for i, row in enumerate(rows)
    ]
    summary = {
        "total_error_mean": statistics.fmean(errors),
        "total_error_worst": max(errors),
        "physical_error_worst": max(physical),
        "target_total": 0.15,
        "target_physical": 0.05,
        "margins_refitted": vars(refit_margins(records, rows[0]["device"])),
        "cases": rows,
    }
    if as_json:
        print(json.dumps(summary))
        return
    print(f"{'size':8}{'rank':>5}{'batch':>6}{'row':>5} {'dtype':9}{'bits':>5}{'checkp.':>8}"
          f"{'predicted':>11}{'measured':>10}{'error':>8}{'physical':>10}")  # fmt: skip
    for row, total, part in zip(rows, errors, physical, strict=True):
        print(f"{row['size']:8}{row['rank']:>5}{row['batch']:>6}{row['length']:>5} "
              f"{row['dtype']:9}{row['bits'] or '-':>5}{row['checkpointing'] and 'yes' or '-':>8}"
              f"{row['predicted'] / MIB:>11.0f}"
              f"{row['measured'] / MIB:>10.0f}{total:>8.1%}{part:>10.1%}")  # fmt: skip
    print(f"mean error {summary['total_error_mean']:.1%}, worst {max(errors):.1%}; "
          f"physical items at worst {max(physical):.1%}")  # fmt: skip
    print(f"refitted: {summary['margins_refitted']}")


if __name__ == "__main__":
    main()
