"""How fast, how small and how exact the operations on adapters are.

    python benchmarks/adapters.py [--json] [--no-endpoint] [--dense-side 4096]

1. Resize of a 7B-size adapter (32 layers of Llama-2-7B's seven matrices, rank 64, random float32
   factors, 640 MB) to rank 16, in a process of its own: wall-clock time of the operation with its
   writing, peak memory of the whole process with its imports.
2. The same by forming BA and a dense SVD: measured on one square module (--dense-side) in float32,
   and extrapolated to all 224 by min(m, n)^2 max(m, n), the growth of a dense SVD's work.
3. The error of truncation beside sqrt(sum of dropped sigma^2) of a dense float64 SVD.
4. The sum of combined adapters beside the dense float64 sum, before any reduction.
5. The API's tokens a second (benchmarks/serve.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import _path  # noqa: F401
import numpy as np
from _claims import Claim, print_claims

from lora_engine.adapter_operations import ToRank, WeightedAdapter, combine, resize
from lora_engine.adapter_operations.written_adapter import written_adapter
from lora_engine.spectrum import read_adapter

HIDDEN, INNER, LAYERS, RANK, TO_RANK = 4096, 11008, 32, 64, 16
MODULES = {
    **{f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"},
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
SMALL = {"self_attn.q_proj": (192, 256), "mlp.down_proj": (256, 320)}
MIB = 2**20


def save_random(
    folder: Path, shapes: dict, layers: int, rank: int, seed: int = 0, alpha: float = 32, **config
) -> Path:
    """An adapter of random normal factors in float32, written tensor by tensor."""
    random = np.random.default_rng(seed)
    names = [f"model.layers.{layer}.{name}" for layer in range(layers) for name in shapes]
    keys = [f"base_model.model.{name}.lora_{x}.weight" for name in names for x in "AB"]
    document = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "random",
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted({name.rpartition(".")[2] for name in shapes}),
        **config,
    }
    with written_adapter(folder, keys) as writer:
        for name in names:
            rows, columns = shapes[name.split(".", 3)[3]]
            key = f"base_model.model.{name}.lora_"
            for part, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                values = random.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)
                writer.add(f"{key}{part}.weight", values, "F32")
        writer.finish(document, {})
    return folder


CHILD = """
import json, sys, time
from pathlib import Path
from lora_engine.adapter_operations import ToRank, resize
from lora_engine.training.memory.usage import peak_resident_bytes
started = time.perf_counter()
resize(Path(sys.argv[1]), Path(sys.argv[2]), ToRank(int(sys.argv[3])))
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_bytes": peak_resident_bytes()}))
"""


def bench_resize(folder: Path, dense_side: int) -> list[Claim]:
    source = save_random(folder / "7b", MODULES, LAYERS, RANK)
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(source), str(folder / "out"), str(TO_RANK)],
        check=True, capture_output=True, text=True, cwd=root,
    )  # fmt: skip
    found = json.loads(done.stdout)
    seconds, peak = found["seconds"], found["peak_bytes"]
    dense_s = dense_seconds(dense_side)
    ratio = dense_s / seconds
    return [
        Claim("resize of 224 modules, rank 64 to 16", seconds, "s", "< 20 s", seconds < 20),
        Claim("its peak memory", peak / MIB, "MiB", "< 1024 MiB", peak < 1024 * MIB),
        Claim("dense SVD of all 224, extrapolated", dense_s, "s", "", True),
        Claim("times faster than dense", ratio, "x", ">= 50 x", ratio >= 50),
    ]


def dense_seconds(side: int) -> float:
    """BA formed and decomposed once at side x side, times the work of all modules over its own."""
    random = np.random.default_rng(0)
    B = random.standard_normal((side, RANK), np.float32)
    A = random.standard_normal((RANK, side), np.float32)
    started = time.perf_counter()
    np.linalg.svd(B @ A, full_matrices=False)
    one = time.perf_counter() - started
    work = LAYERS * sum(min(shape) ** 2 * max(shape) for shape in MODULES.values())
    return one * work / side**3


def bench_truncation(folder: Path) -> list[Claim]:
    """The largest relative difference between the error of what was written and the least one."""
    source = save_random(folder / "small", SMALL, 2, RANK)
    report = resize(source, folder / "small-16", ToRank(TO_RANK))
    before, after = read_adapter(source), read_adapter(folder / "small-16")
    worst = 0.0
    for old, new, said in zip(before.modules, after.modules, report.modules, strict=True):
        dense = old.factors.dense()
        least = float(np.linalg.norm(np.linalg.svd(dense, compute_uv=False)[TO_RANK:]))
        for error in (said.error, float(np.linalg.norm(dense - new.factors.dense()))):
            worst = max(worst, abs(error / least - 1.0))
    return [Claim("truncation beside the least error", worst, "relative", "<= 1e-5", worst <= 1e-5)]


def bench_combine(folder: Path) -> list[Claim]:
    """The largest relative error of the sum, for plain, rsLoRA, and different ranks and alphas."""
    kinds = {
        "plain": ({}, {}),
        "rsLoRA": ({"use_rslora": True}, {"use_rslora": True}),
        "rsLoRA and plain, other rank and alpha": ({"use_rslora": True}, {"rank": 7, "alpha": 11}),
    }
    claims = []
    for number, (kind, settings) in enumerate(kinds.items()):
        sources = []
        for seed, own in enumerate(settings, 1):
            path = folder / f"combine-{number}-{seed}"
            save_random(path, SMALL, 2, **{"rank": 16, **own}, seed=seed)
            sources.append(WeightedAdapter(path, 0.7 if seed == 1 else -0.3))
        combine(sources, folder / f"sum-{number}")
        parts = [read_adapter(one.path).modules for one in sources]
        worst = 0.0
        for module in read_adapter(folder / f"sum-{number}").modules:
            dense = sum(
                one.weight * next(m for m in modules if m.name == module.name).factors.dense()
                for one, modules in zip(sources, parts, strict=True)
            )
            difference = np.linalg.norm(module.factors.dense() - dense) / np.linalg.norm(dense)
            worst = max(worst, float(difference))
        claims.append(Claim(f"combined, {kind}", worst, "relative", "<= 1e-6", worst <= 1e-6))
    return claims


def bench_endpoint() -> list[Claim]:
    import serve

    report = serve.endpoint_figure()
    ratio = float(report["ratio"])
    return [Claim("API, together beside one by one", ratio, "x", ">= 2 x", ratio >= 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-endpoint", action="store_true")
    parser.add_argument("--dense-side", type=int, default=HIDDEN)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        claims = bench_truncation(folder) + bench_combine(folder)
        claims += bench_resize(folder, options.dense_side)
    if not options.no_endpoint:
        claims += bench_endpoint()
    if options.json:
        figures = {"claims": [asdict(one) for one in claims], "dense_side": options.dense_side}
        print(json.dumps(figures, indent=1))
        return
    print_claims(claims)


if __name__ == "__main__":
    main()
