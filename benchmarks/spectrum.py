"""How fast and how exact the spectrum engine is, side by side with a dense SVD in one run.

    python benchmarks/spectrum.py [--json] [--size 4096] [--rank 16] [--modules 224]

1. The spectrum of one update of rank 16 at size x size, from its factors, against
   torch.linalg.svd(B @ A) in float32; and 224 such updates.
2. The dense spectrum of one size x size matrix as the engine takes it, against torch.linalg.svdvals
   (dense_candidates.py has other ways to it, and numpy's).
3. Peak memory of 4096 x 14336 in bfloat16, read from its safetensors file, in a fresh process.

The two dense decompositions of 4096 x 4096 take most of the time: some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import _path  # noqa: F401
import numpy as np
import torch
from _claims import Claim, print_claims

from lora_engine.spectrum import Factors, decompose, factor_values
from lora_engine.weights import ArrayMatrix, open_matrix

MIB = 2**20


def timed(work: Callable[[], object], repeats: int = 1) -> tuple[float, object]:
    """The shortest of `repeats` wall-clock times in seconds, and the result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return best, result


def known_matrix(size: int) -> tuple[torch.Tensor, np.ndarray]:
    """A float32 (size, size) matrix with known singular values, falling over five decades.

    Rounding to float32 moves them by far less than is asked for here.
    """
    generator = torch.Generator().manual_seed(0)
    values = torch.logspace(0, -5, size, dtype=torch.float64)
    left, right = (
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
        for _ in range(2)
    )
    return ((left * values) @ right.T).float(), values.numpy()


def bench_factors(size: int, rank: int, modules: int) -> list[Claim]:
    generator = torch.Generator().manual_seed(1)
    B = torch.randn(size, rank, generator=generator)
    A = torch.randn(rank, size, generator=generator)
    factors = Factors(B.numpy(), A.numpy())
    ours_s, ours = timed(lambda: factor_values(factors), repeats=5)
    dense_s, dense = timed(lambda: torch.linalg.svd(B @ A, full_matrices=False)[1])
    exact = torch.linalg.svdvals(
        torch.linalg.qr(B.double())[1] @ torch.linalg.qr(A.T.double())[1].T
    )
    error = float((torch.from_numpy(ours) / exact - 1).abs().max())
    against = float(np.abs(ours / dense[:rank].double().numpy() - 1).max())
    all_s, _ = timed(lambda: [factor_values(factors) for _ in range(modules)])
    where = f"rank {rank} at {size} x {size}"
    return [
        Claim(f"update of {where}, from factors", ours_s * 1e3, "ms", "", True),
        Claim(f"update of {where}, torch.linalg.svd(B @ A)", dense_s, "s", "", True),
        Claim("update: times faster", dense_s / ours_s, "x", ">= 1000", dense_s / ours_s >= 1000),
        Claim("update: largest relative error, float64", error, "", "<= 1e-6", error <= 1e-6),
        Claim("update: difference from the float32 SVD", against, "", "", True),
        Claim(f"{modules} updates of {where}", all_s, "s", "< 5", all_s < 5),
    ]


def bench_dense(size: int) -> list[Claim]:
    matrix, true = known_matrix(size)
    source = ArrayMatrix(matrix.numpy(), dtype="float32")
    ours_s, ours = timed(lambda: decompose(source, vectors=0))
    dense_s, dense = timed(lambda: torch.linalg.svdvals(matrix))
    strong = true > 1e-3 * true[0]
    error, theirs = (
        float(np.abs(values[strong] / true[strong] - 1).max())
        for values in (ours.singular_values, dense.double().numpy())
    )
    ratio = dense_s / ours_s
    return [
        Claim(f"spectrum of {size} x {size}, values alone", ours_s, "s", "", True),
        Claim(f"spectrum of {size} x {size}, torch.linalg.svdvals", dense_s, "s", "", True),
        Claim("dense: times faster", ratio, "x", ">= 5", ratio >= 5),
        Claim(f"dense: relative error, {int(strong.sum())} values above 1e-3 of the first",
              error, "", "<= 1e-4", error <= 1e-4),
        Claim("dense: the same of torch.linalg.svdvals in float32", theirs, "", "", True),
    ]  # fmt: skip


def bench_memory(rows: int, columns: int) -> list[Claim]:
    """A fresh process decomposes a bfloat16 file; its peak beyond what it had before."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weight.safetensors"
        generator = torch.Generator().manual_seed(2)
        save_file({"w": torch.randn(rows, columns, generator=generator).bfloat16()}, path)
        done = subprocess.run(
            [sys.executable, __file__, "--measure-memory", str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
    grown, seconds = json.loads(done.stdout)
    where = f"{rows} x {columns}, bfloat16, 256 vectors"
    return [
        Claim(f"{where}: time", seconds, "s", "", True),
        Claim(f"{where}: peak memory added", grown / MIB, "MiB", "< 1024", grown < 1024 * MIB),
    ]


def measure_memory(path: str) -> None:
    """In the child: bytes of peak resident memory added, and seconds."""
    torch.linalg.eigh(torch.eye(8, dtype=torch.float64))
    before = _status("VmRSS")
    start = time.perf_counter()
    decompose(open_matrix(path), "gram", vectors=256)
    print(json.dumps([_status("VmHWM") - before, time.perf_counter() - start]))


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--size", type=int, default=4096, help="side of the square matrices")
    parser.add_argument("--rank", type=int, default=16, help="rank of the updates")
    parser.add_argument("--modules", type=int, default=224, help="updates in an adapter")
    parser.add_argument("--stream-columns", type=int, default=14_336, help="width of the file")
    parser.add_argument("--measure-memory", metavar="FILE", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure_memory:
        measure_memory(chosen.measure_memory)
        return
    load = os.getloadavg()[0]
    parts = (
        lambda: bench_factors(chosen.size, chosen.rank, chosen.modules),
        lambda: bench_dense(chosen.size),
        lambda: bench_memory(chosen.size, chosen.stream_columns),
    )
    claims = []
    for number, part in enumerate(parts, start=1):
        seconds, found = timed(part)
        claims += found
        print(f"part {number} of {len(parts)} done in {seconds:.0f} s", file=sys.stderr)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, load {load:.1f} at the start"
    if chosen.json:
        document = {"machine": machine, "claims": [asdict(claim) for claim in claims]}
        print(json.dumps(document, indent=2))
        return
    print(machine)
    print_claims(claims)


if __name__ == "__main__":
    main()
