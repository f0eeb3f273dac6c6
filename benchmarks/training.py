"""How fast a training step is, side by side with what people would use instead, in one run.

    python benchmarks/training.py [--json] [--architecture llama] [--steps 12] [--rounds 2]
                                  [--contender NAME ...] [--supervised 0.6] [--threads N]
                                  [--worker-start] [--python PACKAGE=PATH ...]
                                  [--device cuda --size 1b] [--size 100m --stored bfloat16]

Every contender trains the same random model (hidden 256, 6 layers, MLP 688, vocabulary 8,192;
9M parameters as a Llama) with a rank-8 adapter on all linear layers, on the same rows of 20 to
400 tokens, batches of 8 in the same order, in a process of its own. Reported for each: tokens a
second without padding (the first two steps left out; the median over rounds), by the clock and by
processor time; the largest relative difference of a step's loss to plain Trainer's in float32;
the peak of resident memory, and that peak above what was resident before the first step. TRL
and LLaMA-Factory are measured where they are installed; `--python llamafactory=/env/bin/python`
names another interpreter for a package whose pins exclude ours. `--worker-start` times a worker
from its start to its first step as well. On a busy machine use `--threads 1` and read the tokens a
second of processor time. `--device cuda` trains on the GPU, the frozen weights in bfloat16 for all,
and memory is then the peak of tensors there; `--size 1b` is a Llama of 1.1 billion weights.
`--stored bfloat16` stores the model in it, as most published ones are: `ours_auto` is ours in what
`precision: auto` then means, and `trainer_as_stored` Trainer on the base in bfloat16.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import _path  # noqa: F401
from training_contenders import CONTENDERS, NEEDS, OF_STORED, load_adapted
from training_workload import Recorder, Workload, make_model

from lora_engine.spec import spec_from


def run_contender(name: str, workload: Workload, interpreter: str) -> dict:
    """One contender in a process of its own, so that memory and imports are its own."""
    command = [interpreter, __file__, "--inside", name, "--workload", json.dumps(asdict(workload))]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{name} failed:\n{ended.stderr[-3000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def inside(name: str, workload: Workload) -> None:
    """The body of a contender's process: train, then print the report as the last line."""
    if workload.threads:
        import torch

        torch.set_num_threads(workload.threads)
    recorder = Recorder()
    description = CONTENDERS[name](workload, recorder)
    print(json.dumps({"description": description, **recorder.report(workload)}))


def interpreters_of(options: argparse.Namespace) -> dict[str, str]:
    """Contender to the Python that runs it; contenders whose package is nowhere are left out."""
    elsewhere = dict(named.split("=", 1) for named in options.python)
    found = {}
    usual = [name for name in CONTENDERS if options.stored or name not in OF_STORED]
    for name in dict.fromkeys(["trainer", *(options.contender or usual)]):
        package = NEEDS.get(name)
        if package in elsewhere:
            found[name] = elsewhere[package]
        elif package is None or importlib.util.find_spec(package):
            found[name] = sys.executable
    return found


def measure(options: argparse.Namespace, interpreters: dict[str, str]) -> dict[str, dict]:
    """Contender to its figures; contenders take turns, so that a busy moment hits them alike."""
    results: dict[str, list[dict]] = {name: [] for name in interpreters}
    with tempfile.TemporaryDirectory() as folder:
        asked = (options.steps, options.supervised, options.threads)
        workload = Workload(folder, *asked, options.device, options.size, options.stored)
        stored = workload.stored or workload.dtype
        make_model(Path(workload.model), options.architecture, workload.size, stored)
        if any(name.startswith("llamafactory") for name in interpreters):  # which reads it there
            load_adapted(workload).save_pretrained(workload.adapter)
        for _ in range(options.rounds):
            for name in interpreters:
                results[name].append(run_contender(name, workload, interpreters[name]))
    return summarize(results)


def summarize(results: dict[str, list[dict]]) -> dict[str, dict]:
    reference = results["trainer"][0]["losses"]
    trainer_speed = statistics.median(run["tokens_per_s"] for run in results["trainer"])
    trainer_cpu = statistics.median(run["tokens_per_cpu_s"] for run in results["trainer"])
    trainer_peak = statistics.median(run["peak_mib"] for run in results["trainer"])
    table = {}
    for name, runs in results.items():
        speed = statistics.median(run["tokens_per_s"] for run in runs)
        peak = statistics.median(run["peak_mib"] for run in runs)
        cpu = statistics.median(run["tokens_per_cpu_s"] for run in runs)
        pairs = zip(runs[0]["losses"], reference, strict=True)
        table[name] = {
            "tokens_per_s": round(speed),
            "runs": [round(run["tokens_per_s"]) for run in runs],
            "times_trainer": round(speed / trainer_speed, 2),
            "tokens_per_cpu_s": round(cpu),
            "times_trainer_cpu": round(cpu / trainer_cpu, 2),
            "loss_difference": max(abs(a - b) / b for a, b in pairs),
            "peak_mib": round(peak),
            "peak_share": round(peak / trainer_peak, 2),
            "above_mib": round(statistics.median(run["above_mib"] for run in runs)),
            "what": runs[0]["description"],
        }
    return table


def worker_start_s(repeats: int = 3) -> list[float]:
    """Seconds from a worker's start to its first logged step: the starter, the pirate rows."""
    from lora_engine.run_folder import RunDirectory

    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            directory = RunDirectory(Path(folder) / "run")
            directory.create(spec_from({"optimization": {"max_steps": 1}}))
            environment = {**os.environ, "LORA_DATA_DIR": folder}
            started = time.time()
            command = [sys.executable, "-m", "lora_engine.training.worker", str(directory.path)]
            root = Path(__file__).resolve().parents[1]
            subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True)
            seconds.append(round(directory.metrics_path.stat().st_mtime - started, 2))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--architecture", default="llama")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=("small", "100m", "1b"), default="small")
    parser.add_argument("--stored", choices=("float32", "bfloat16"), default="")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--supervised", type=float, default=0.6)
    parser.add_argument("--contender", choices=CONTENDERS, action="append")
    parser.add_argument("--worker-start", action="store_true")
    parser.add_argument("--python", metavar="PACKAGE=PATH", action="append", default=[])
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--workload", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options.inside, Workload(**json.loads(options.workload)))
    interpreters = interpreters_of(options)
    report = {
        "architecture": options.architecture,
        "device": options.device,
        "size": options.size,
        "steps": options.steps,
        "threads": options.threads,
        "supervised": options.supervised,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_before": os.getloadavg()[0],
        "absent": sorted(set(options.contender or NEEDS) - set(interpreters)),
        "contenders": measure(options, interpreters),
    }
    if options.worker_start:
        report["worker_start_s"] = worker_start_s()
    return print(json.dumps(report, indent=1)) if options.json else print_table(report)


def print_table(report: dict) -> None:
    print(f"{report['architecture']}, {report['machine']}, load {report['load_before']:.1f}")
    print(
        f"{'':31}{'tokens/s':>9}{'× Trainer':>11}{'per CPU s':>11}{'× Trainer':>11}"
        f"{'loss diff':>11}{'peak MiB':>10}{'share':>7}"
    )
    for name, row in report["contenders"].items():
        print(
            f"{name:31}{row['tokens_per_s']:>9,}{row['times_trainer']:>11.2f}"
            f"{row['tokens_per_cpu_s']:>11,}{row['times_trainer_cpu']:>11.2f}"
            f"{row['loss_difference']:>11.1e}{row['peak_mib']:>10,}{row['peak_share']:>7.2f}"
        )
    if report["absent"]:
        print(f"not installed: {', '.join(report['absent'])}")
    if "worker_start_s" in report:
        print(f"worker start to first step: {report['worker_start_s']} s")


if __name__ == "__main__":
    main()
