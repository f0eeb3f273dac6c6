"""Five ranks in one worker, beside five workers one after the other.

    python benchmarks/sweep.py [--json] [--example pirate] [--epochs 3] [--batch-size 8]
                               [--rounds 1]

The example's recipe on the starter with ranks 4, 8, 16, 32 and 64, as workers start them: each way
in processes of its own, from start to exit. The ways take turns over the rounds; the median counts.
Reported: seconds by the clock and of processor time, the peak of memory (the largest of a way's
processes), the largest relative difference of a step's training loss to the run alone and where it
was, what the worker said about its passes, and with stopping the steps that each run made.

On a busy machine read cpu_share, the processor time beside that of five workers.

Must reach: one worker at most 0.8 of the seconds of five without stopping, at most 0.5 with it, a
peak of at most 1.5 of one run's; on a GPU at batch 1 or 2 at most 0.4. benchmarks/intervals.py and
benchmarks/planted_rank.py measure the judgement.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import _path  # noqa: F401

from lora_engine.run_folder import RunDirectory
from lora_engine.spec import RunSpec, recipe_spec, spec_from

RANKS = (4, 8, 16, 32, 64)
ROOT = Path(__file__).resolve().parents[1]
MOST_PEAK, MOST_DIFFERENCE = 1.5, 1e-4
MOST_SECONDS, MOST_WITH_STOPPING, MOST_ON_GPU = 0.8, 0.5, 0.4


@dataclass(frozen=True)
class Way:
    """One way to train the ranks: its figures in one round."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    directories: tuple[RunDirectory, ...]

    @property
    def steps(self) -> dict[str, int]:
        return {run.path.name: _result(run).steps for run in self.directories}

    @property
    def passes(self) -> str:
        said = [line for line in self.directories[0].log_tail().splitlines() if " pass" in line]
        return said[-1].partition("INFO ")[2] if said else ""


@dataclass(frozen=True)
class Difference:
    """relative: to the loss of the run alone, at that step."""

    relative: float
    step: int


@dataclass(frozen=True)
class Claim:
    """One figure, what it must reach, and whether it does."""

    name: str
    value: float
    must: str
    reached: bool


def specs(options: argparse.Namespace) -> dict[str, RunSpec]:
    document = recipe_spec(options.example).model_dump(mode="json", exclude_unset=True)
    changed = {"epochs": options.epochs, "batch_size": options.batch_size}
    optimization = {**document["optimization"], **changed}
    return {
        f"r{rank}": spec_from({**document, "optimization": optimization, "method": {"rank": rank}})
        for rank in RANKS
    }


def train(folder: Path, named: dict[str, RunSpec], *flags: str, apart: bool = False) -> Way:
    """Train all in one worker, or each in its own, one after the other."""
    directories = []
    for name, spec in named.items():
        directories.append(RunDirectory(folder / name))
        directories[-1].create(spec)
    before, started = _children_cpu_s(), time.perf_counter()
    for group in [[run] for run in directories] if apart else [directories]:
        _worker(group, folder, flags)
    seconds, cpu = time.perf_counter() - started, _children_cpu_s() - before
    peak = max(_result(run).peak_memory_bytes for run in directories)
    return Way(seconds, cpu, peak, tuple(directories))


def _worker(runs: Sequence[RunDirectory], folder: Path, flags: Sequence[str]) -> None:
    paths = [str(run.path) for run in runs]
    environment = {**os.environ, "LORA_DATA_DIR": str(folder / "data"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "lora_engine.training.worker", *paths, *flags]
    with runs[0].log_path.open("ab") as log:
        ended = subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    if ended.returncode != 0:
        raise SystemExit(f"the worker failed:\n{runs[0].log_tail()}")


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _result(run: RunDirectory):
    result = run.result()
    assert result is not None, f"{run.path.name} has no result"
    return result


def largest_differences(together: Way, apart: Way) -> dict[str, Difference]:
    """By run: of a step's training loss to that of the run alone."""
    found = {}
    for ours, alone in zip(together.directories, apart.directories, strict=True):
        expected = {row.step: row.loss for row in alone.metrics()}
        differences = [(abs(row.loss / expected[row.step] - 1), row.step) for row in ours.metrics()]
        found[ours.path.name] = Difference(*max(differences))
    return found


def measure(options: argparse.Namespace, folder: Path) -> dict:
    named, rounds, load = specs(options), [], os.getloadavg()[0]
    for number in range(options.rounds):
        at = folder / str(number)
        apart = train(at / "apart", named, apart=True)
        together = train(at / "together", named)
        stopping = train(at / "stopping", named, "--stop-worse")
        rounds.append((apart, together, stopping))
    apart, together, stopping = rounds[-1]
    ratio = {
        name: statistics.median(one[i].seconds / one[0].seconds for one in rounds)
        for i, name in ((1, "together"), (2, "stopping"))
    }
    peak = statistics.median(one[1].peak_bytes / one[0].peak_bytes for one in rounds)
    differences = largest_differences(together, apart)
    difference = max(one.relative for one in differences.values())
    most = MOST_ON_GPU if _has_gpu() and options.batch_size <= 2 else MOST_SECONDS
    claims = [
        _claim("seconds, one worker / five", ratio["together"], most),
        _claim("seconds, stopping what is worse / five", ratio["stopping"], MOST_WITH_STOPPING),
        _claim("peak of memory, one worker / one run", peak, MOST_PEAK),
        _claim("largest difference of a step's loss", difference, MOST_DIFFERENCE),
    ]
    ways = {"apart": apart, "together": together, "stopping": stopping}
    return {
        "example": options.example,
        "batch_size": options.batch_size,
        "load_before": load,
        "ways": {
            name: {
                "seconds": round(way.seconds, 1),
                "cpu_seconds": round(way.cpu_seconds, 1),
                "cpu_share": round(way.cpu_seconds / apart.cpu_seconds, 2),
                "peak_mib": round(way.peak_bytes / 2**20),
                "steps": way.steps,
                "passes": way.passes,
            }
            for name, way in ways.items()
        },
        "largest_differences": {name: asdict(one) for name, one in differences.items()},
        "rounds": [[round(way.seconds, 1) for way in one] for one in rounds],
        "claims": [asdict(claim) for claim in claims],
    }


def _claim(name: str, value: float, most: float) -> Claim:
    return Claim(name, float(f"{value:.3g}"), f"at most {most:g}", value <= most)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--example", default="pirate")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(options, Path(folder))
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for name, way in report["ways"].items():
        print(f"{name:10} {way['seconds']:>7} s {way['cpu_seconds']:>7} s of processors, "
              f"{way['peak_mib']:,} MiB; steps {way['steps']}; {way['passes']}")  # fmt: skip
    for name, one in report["largest_differences"].items():
        print(f"{name}: a step's loss {one['relative']:.1e} from the run alone, at {one['step']}")
    for claim in report["claims"]:
        mark = "ok  " if claim["reached"] else "FAIL"
        print(f"{mark} {claim['name']}: {claim['value']} ({claim['must']})")


if __name__ == "__main__":
    main()
