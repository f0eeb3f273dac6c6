"""What a graphics card does here: is it right, does it resume, does it fit, how fast is it.

    make gpu-check
    python benchmarks/gpu_check.py [--json] [--only LINE] [--device cuda|cpu] [--tiny]

Each line of the table is a process of its own with its own limit of time, so a failure is a line
with its reason and not the end. Everything is random and made here; nothing is fetched. Without a
card it says so and ends with status 2. `--device cpu --tiny` goes through all that a CPU can do, on
small models, to see that the script itself works: its figures say nothing about a card.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
DRIVER_LISTING = Path("/proc/driver/nvidia/gpus")
NO_CARD = "No NVIDIA card is visible on this machine, so there is nothing to check."
MOST_REASON = 400
BUDGET_S = 470  # of the whole check


@dataclass(frozen=True)
class Line:
    """A line of the table: a script of this folder, its arguments, and its seconds."""

    name: str
    arguments: tuple[str, ...]
    budget_s: int
    needs_card: bool = False
    needs: str = ""  # a package without which it would measure something else


@dataclass(frozen=True)
class Outcome:
    """How a line ended. state: ok, failed or skipped."""

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""
    figures: dict = field(default_factory=dict)


def lines(device: str, tiny: bool) -> list[Line]:
    """The whole check, the most telling lines first: what comes last may find no time left."""
    asked = ("--device", device, *(("--tiny",) if tiny else ()))
    sizes = ("--size", "small" if tiny else "1b", "--steps", "4" if tiny else "12")
    beside_trainer = ("ours_float32",) if device == "cpu" else ("ours_bfloat16", "trl_padding_free")

    def of(name: str, budget_s: int, needs_card: bool = False) -> Line:
        return Line(name, ("gpu_check_lines.py", name, *asked), budget_s, needs_card)

    def speed(
        name: str, contenders: tuple[str, ...], needs_card: bool = True, needs: str = ""
    ) -> Line:
        named = [part for one in contenders for part in ("--contender", one)]
        told = ("--device", device, *sizes, "--rounds", "1", "--json", *named)
        return Line(name, ("training.py", *told), 100, needs_card, needs)

    return [
        of("card", 30),
        of("parity", 60),
        of("resume", 60),
        speed("speed", beside_trainer, needs_card=False),
        of("attention", 40, needs_card=True),
        of("methods", 100),
        of("choices", 60),
        of("memory", 60),
        speed("speed_qlora", ("trainer_4bit", "ours_4bit"), needs="bitsandbytes"),
        speed("trl_defaults", ("trl_defaults",), needs="trl"),
        of("head", 30, needs_card=True),
        of("layers", 30, needs_card=True),
        of("decoder", 60, needs_card=True),
        speed("unsloth", ("unsloth",), needs="unsloth"),
    ]


def run_line(command: list[str], name: str, budget_s: float) -> Outcome:
    """Run a line's process. What it prints from the first brace on is its figures as JSON."""
    started = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, said = process.communicate(timeout=budget_s)
        except subprocess.TimeoutExpired:
            # with the processes that it started itself: they would hold the card's memory
            os.killpg(process.pid, signal.SIGKILL)
            return Outcome(name, "failed", budget_s, f"not done within its {budget_s:.0f} seconds")
    seconds = round(time.perf_counter() - started, 1)
    if process.returncode != 0:
        reason = said.strip().splitlines()[-1:] or ["ended without a word"]
        return Outcome(name, "failed", seconds, reason[0][:MOST_REASON])
    try:
        figures = json.loads(output[output.index("{") :])
    except ValueError:
        return Outcome(name, "failed", seconds, f"no figures: {output.strip()[-MOST_REASON:]}")
    failures = figures.pop("failures", {})
    reason = "; ".join(f"{part}: {why}" for part, why in failures.items())
    return Outcome(name, "failed" if failures else "ok", seconds, reason[:MOST_REASON], figures)


def check(device: str, tiny: bool, only: list[str]) -> list[Outcome]:
    found, ends = [], time.monotonic() + BUDGET_S
    for line in lines(device, tiny):
        if only and line.name not in only:
            continue
        left = ends - time.monotonic()
        if line.needs_card and device == "cpu":
            found.append(Outcome(line.name, "skipped", reason="needs a card"))
        elif line.needs and importlib.util.find_spec(line.needs) is None:
            found.append(Outcome(line.name, "skipped", reason=f"{line.needs} is not installed"))
        elif left < 1:
            found.append(Outcome(line.name, "skipped", reason="no time left; ask for it by --only"))
        else:
            command = [sys.executable, str(HERE / line.arguments[0]), *line.arguments[1:]]
            found.append(run_line(command, line.name, min(left, line.budget_s)))
        print(as_text(found[-1]), file=sys.stderr, flush=True)
    return found


def as_text(outcome: Outcome) -> str:
    head = f"{outcome.name:12} {outcome.state:8} {outcome.seconds:6.1f} s"
    figures = json.dumps(outcome.figures) if outcome.figures else ""
    return "  ".join(part for part in (head, outcome.reason, figures) if part)


def has_card() -> bool:
    """Whether a card is visible, without torch: the machine may have none yet."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if DRIVER_LISTING.is_dir() and any(DRIVER_LISTING.iterdir()):
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True)
    return listed.returncode == 0 and "GPU " in listed.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document at the end")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models")
    parser.add_argument("--only", action="append", default=[], metavar="LINE", help="repeatable")
    parser.add_argument("--only-card", action="store_true", help="say whether there is a card")
    options = parser.parse_args()
    if options.device == "cuda" and not has_card():
        print(NO_CARD, file=sys.stderr)
        return 2
    if options.only_card:
        return 0
    unknown = set(options.only) - {line.name for line in lines(options.device, options.tiny)}
    if unknown:
        parser.error(f"no such line: {', '.join(sorted(unknown))}")
    found = check(options.device, options.tiny, options.only)
    report = {
        "device": options.device,
        "tiny": options.tiny,
        "seconds": round(sum(outcome.seconds for outcome in found), 1),
        "lines": [asdict(outcome) for outcome in found],
    }
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        print("\n".join(as_text(outcome) for outcome in found))
    return 1 if any(outcome.state == "failed" for outcome in found) else 0


if __name__ == "__main__":
    sys.exit(main())
