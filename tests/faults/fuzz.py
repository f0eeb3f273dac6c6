"""A mutation fuzzer: good files of every format mutated, and read as the pages read them.

    python -m tests.faults.fuzz --count 2000 --seed 7                 a table, and each failure
    python -m tests.faults.fuzz --seed 7 --format rows.csv --case 13  once again; its folder stays

Each mutation is read in a fork, under a limit of time and of memory. It must be refused in words
(EngineError) or accepted; any other exception, a signal, a time-out or too much memory is a crash,
and no code that a file carries may touch the canary. A case is known by seed, format and number.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import IO, NoReturn

from tests.faults.fuzz_formats import Format, Way, all_formats

CPU_S = 5.0
"""Of one way in: of its own process, and of those that it waited for."""
WALL_S = 60.0
"""Of a machine that has other work."""
MEMORY_BYTES = 512 << 20
CASES_A_FORK = 60
LONGEST_WORDS = 20_000
OUTCOMES = ("refused", "accepted", "crashed")


@dataclass(frozen=True)
class Case:
    """One mutation, and what came of it. words: of the refusal or of the crash."""

    format: str
    number: int
    outcome: str = ""
    words: str = ""
    seconds: float = 0.0
    canary: bool = False


class Fuzzer:
    """Runs the cases of some formats. keep: leave the folders of the cases behind."""

    def __init__(
        self, formats: Sequence[Format], home: Path, canary: Path, seed: int, keep: bool = False
    ) -> None:
        self._formats = {one.name: one for one in formats}
        self._home, self._canary, self._seed, self._keep = home, canary, seed, keep

    def good(self) -> list[Case]:
        """Of each format, the first good file as it is."""
        return [Case(name, 0) for name in self._formats]

    def plan(self, count: int) -> list[Case]:
        """So many mutations, shared out over the formats; each format has one at least."""
        total = sum(one.share for one in self._formats.values())
        numbers = {one.name: max(1, count * one.share // total) for one in self._formats.values()}
        short = Random(self._seed).choices(list(numbers), k=max(0, count - sum(numbers.values())))
        for name in short:
            numbers[name] += 1
        return [
            Case(name, number) for name, most in numbers.items() for number in range(1, most + 1)
        ]

    def content(self, case: Case) -> bytes:
        """The file of a case: always the same bytes. Case 0 is a good file."""
        chosen = self._formats[case.format]
        if case.number == 0:
            return chosen.files[0]
        rng = Random(f"{self._seed} {case.format} {case.number}")
        return chosen.mutate(rng.choice(chosen.files), chosen.files, rng)

    def run(self, cases: Sequence[Case]) -> Iterator[Case]:
        """Every case with what came of it."""
        waiting = list(cases)
        while waiting:
            done = yield from self._in_a_fork(waiting[:CASES_A_FORK])
            del waiting[:done]

    def _in_a_fork(self, cases: Sequence[Case]) -> Iterator[Case]:
        """The cases that one fork comes through, and the one that it ends in; their number."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._try_all(cases, write)
        os.close(write)
        done = 0
        with open(read, "rb") as answers:
            for line in _lines(answers):
                yield Case(**json.loads(line))
                done += 1
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0 and done < len(cases):
            yield self._ended(cases[done], code)
            done += 1
        return done

    def _ended(self, case: Case, code: int) -> Case:
        """The case that ended its process."""
        why = f"its process ended with {signal.Signals(-code).name if code < 0 else code}"
        if code == -signal.SIGPROF:
            why = f"it takes over {CPU_S} s of processor time"
        if code == -signal.SIGKILL:
            why = f"it takes over {WALL_S} s, or was killed"
        return Case(case.format, case.number, "crashed", why, canary=self._touched())

    def _touched(self) -> bool:
        touched = self._canary.exists()
        self._canary.unlink(missing_ok=True)
        return touched

    def _try_all(self, cases: Sequence[Case], answers: int) -> NoReturn:
        """In the fork: each case in turn, told as a line. Ends early after a greedy one."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = mapped + 4 * MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1
        try:
            for case in cases:
                found = self._tried(case)
                os.write(answers, json.dumps(asdict(found)).encode() + b"\n")
                if found.outcome == "crashed":
                    break
            code = 0
        finally:
            os._exit(code)

    def _tried(self, case: Case) -> Case:
        folder = self._home / f"{case.format.replace('/', '-')}-{case.number}"
        folder.mkdir()
        before, started = _peak_bytes(), time.monotonic()
        try:
            content = self.content(case)
        except Exception:  # noqa: BLE001 - a mistake of the fuzzer's own
            return Case(case.format, case.number, "crashed", traceback.format_exc())
        outcome, words = _outcome(self._formats[case.format], content, folder)
        if _peak_bytes() - before > MEMORY_BYTES:
            outcome, words = "crashed", f"it takes {(_peak_bytes() - before) >> 20} MiB"
        if not self._keep:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = round(time.monotonic() - started, 2)
        return Case(case.format, case.number, outcome, words[:6_000], seconds, self._touched())


def _outcome(chosen: Format, content: bytes, folder: Path) -> tuple[str, str]:
    """Through every way in; refused where any of them refuses."""
    from lora_engine.errors import EngineError

    refused = ""
    try:
        for way in chosen.ways(content, folder):
            try:
                _in_time(way)
            except EngineError as error:
                refused = str(error)
                refused.encode()  # as a page sends it
                if not (error.problem and error.remedy and len(refused) < LONGEST_WORDS):
                    return "crashed", f"no good words ({len(refused)} characters): {refused}"
    except BaseException:  # noqa: BLE001 - what the fuzzer looks for
        return "crashed", traceback.format_exc()
    return ("refused", refused) if refused else ("accepted", "")


def _in_time(way: Way) -> None:
    """The kernel ends the process where it takes too long; what it waits for is counted after."""
    before = _cpu_s()
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        way()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        taken = _cpu_s() - before
        if taken > CPU_S:
            raise TimeoutError(f"it takes {taken:.1f} s of processor time")


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _lines(answers: IO[bytes]) -> Iterator[bytes]:
    """Each line as it comes; ends where the pipe does, or nothing comes for too long."""
    waiting = b""
    while select.select([answers], [], [], WALL_S)[0]:
        piece = os.read(answers.fileno(), 1 << 20)
        if not piece:
            return
        *lines, waiting = (waiting + piece).split(b"\n")
        yield from lines


def figures(cases: Sequence[Case], seed: int) -> dict[str, object]:
    """Counts, in all and of each format, and the failures."""
    by_format: dict[str, Counter[str]] = {}
    for case in cases:
        counts = by_format.setdefault(case.format, Counter(dict.fromkeys(OUTCOMES, 0)))
        counts[case.outcome] += 1
        counts["canaries"] += case.canary
    failures = [asdict(case) for case in cases if case.outcome == "crashed" or case.canary]
    total = sum(by_format.values(), Counter())
    return {
        "seed": seed,
        "tried": len(cases),
        **{name: total[name] for name in (*OUTCOMES, "canaries")},
        "slowest_s": max((case.seconds for case in cases), default=0.0),
        "formats": by_format,
        "failures": failures,
    }


def main(arguments: Sequence[str]) -> int:
    """Fuzz, print the figures. Returns 1 where anything crashed or touched the canary."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", help="only this one")
    parser.add_argument("--case", type=int, help="only this one, of the format")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import_libraries()
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    canary = home / "canary"
    formats = [one for one in all_formats(home, str(canary)) if given.format in (None, one.name)]
    fuzzer = Fuzzer(formats, home, canary, given.seed, keep=given.case is not None)
    cases = fuzzer.plan(given.count)
    if given.case is not None:
        cases = [Case(given.format, given.case)]
    found = list(fuzzer.run(cases))
    report = figures(found, given.seed)
    print(json.dumps(report, indent=1) if given.json else in_words(report))
    if given.case is not None:
        print(f"{found[0].outcome}: {found[0].words}\n{home}")
    else:
        shutil.rmtree(home)
    return 1 if report["failures"] else 0


def import_libraries() -> None:
    """What the ways in would import for themselves, once for all forks."""
    import peft  # noqa: F401
    import pyarrow.parquet
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from transformers.models.llama import modeling_llama  # noqa: F401

    import lora_engine.engine  # noqa: F401

    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)


def in_words(report: dict) -> str:
    """A table of the formats, and each failure with how to repeat it."""
    names = (*OUTCOMES, "canaries")
    rows = [("format", *names)]
    rows += [(name, *(counts[one] for one in names)) for name, counts in report["formats"].items()]
    rows.append(("all", *(report[one] for one in names)))
    lines = [f"{row[0]:36}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    for failure in report["failures"]:
        again = f"--seed {report['seed']} --format {failure['format']} --case {failure['number']}"
        canary = " TOUCHED THE CANARY" if failure["canary"] else ""
        lines += [f"\npython -m tests.faults.fuzz {again}{canary}", failure["words"][-1_500:]]
    return "\n".join([*lines, f"\nslowest: {report['slowest_s']} s"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
