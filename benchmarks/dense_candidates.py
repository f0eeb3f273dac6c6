"""Ways to the singular values of a dense float32 matrix, side by side: time and errors.

    python benchmarks/dense_candidates.py [--json] [--size 4096] [--threads 2] [--only NAME ...]

The matrix has known values, falling over five decades. `band` is what the engine does where
values alone are wanted (its time includes the bound of its error), `gram` where vectors are, too.
docs/spectrum.md has what was measured.
The others were tried for more speed:

    torch, numpy      LAPACK's SVD in float32, values alone
    gram-float32      the Gram route in float32
    gram-two-stages   the float64 Gram matrix reduced to a band in blocks, then LAPACK's dsbtrd
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import _path  # noqa: F401
import numpy as np
import torch
from scipy.linalg import eig_banded
from spectrum import known_matrix

from lora_engine.spectrum import decompose
from lora_engine.weights import ArrayMatrix

BAND = 32


def reflectors(panel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """V, T and R with panel = (I - V T V^T) [R; 0]."""
    packed, scales = torch.geqrf(panel.contiguous())
    count = scales.numel()
    left = packed.tril(-1)[:, :count]
    left.diagonal().fill_(1.0)
    inverse = (left.T @ left).triu(1)
    inverse.diagonal().copy_(1 / scales)
    identity = torch.eye(count, dtype=panel.dtype)
    return left, torch.linalg.solve_triangular(inverse, identity, upper=True), packed.triu()[:count]


def by_two_stages(matrix: torch.Tensor) -> np.ndarray:
    wide = matrix.double()
    gram, size = wide @ wide.T, len(matrix)
    band = np.zeros((BAND + 1, size))
    for start in range(0, size, BAND):
        corner = gram[start : start + BAND, start : start + BAND].numpy()
        for apart in range(BAND):
            band[apart, start : start + BAND - apart] = corner.diagonal(-apart)
        rest = gram[start + BAND :, start + BAND :]
        if not rest.numel():
            break
        left, scale, triangle = reflectors(gram[start + BAND :, start : start + BAND])
        for i in range(BAND):
            columns = np.arange(i, BAND)
            band[BAND + i - columns, start + columns] = triangle[i, i:].numpy()
        across = rest @ (left @ scale)
        across -= 0.5 * left @ (scale.T @ (left.T @ across))
        rest.addmm_(torch.cat([left, across], 1), torch.cat([across, left], 1).T, alpha=-1)
    return roots(eig_banded(band, lower=True, eigvals_only=True)[::-1])


def by_float32_gram(matrix: torch.Tensor) -> np.ndarray:
    return roots(torch.linalg.eigvalsh(matrix @ matrix.T).double().numpy()[::-1])


def roots(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(squares, 0.0))


CANDIDATES: dict[str, Callable[[torch.Tensor], np.ndarray]] = {
    "torch": lambda matrix: torch.linalg.svdvals(matrix).double().numpy(),
    "numpy": lambda matrix: np.linalg.svd(matrix.numpy(), compute_uv=False).astype(np.float64),
    "gram": lambda matrix: (
        decompose(ArrayMatrix(matrix.numpy(), dtype="float32"), "gram", vectors=0).singular_values
    ),
    "gram-float32": by_float32_gram,
    "gram-two-stages": by_two_stages,
    "band": lambda matrix: (
        decompose(ArrayMatrix(matrix.numpy(), dtype="float32"), vectors=0).singular_values
    ),
}


def measure(name: str, matrix: torch.Tensor, true: np.ndarray) -> dict[str, object]:
    """Seconds of clock and of processor, and errors: of all values beside the first, and of the
    values above a thousandth of it beside themselves."""
    clock, processor = time.perf_counter(), time.process_time()
    values = CANDIDATES[name](matrix)
    strong = true > 1e-3 * true[0]
    return {
        "name": name,
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
        "error_beside_first": float(np.abs(values - true).max() / true[0]),
        "error_of_strong": float(np.abs(values[strong] / true[strong] - 1).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--size", type=int, default=4096, help=f"side, a multiple of {BAND}")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", choices=list(CANDIDATES), default=list(CANDIDATES))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    small, known = known_matrix(1056)
    for name in chosen.only:  # imports, and memory of the first call
        measure(name, small, known)
    matrix, true = known_matrix(chosen.size)
    rows = [measure(name, matrix, true) for name in chosen.only]
    if chosen.json:
        print(json.dumps({"size": chosen.size, "threads": chosen.threads, "rows": rows}, indent=2))
        return
    for row in rows:
        print("{name:16} {seconds:8.2f} s {processor_seconds:8.2f} s of processor   "
              "{error_beside_first:.1e} {error_of_strong:.1e}".format(**row))  # fmt: skip


if __name__ == "__main__":
    main()
