"""A large set, from its file to training: seconds, rows a second and peak memory of every stage.

Rows of plain text, or of a question and an answer, of about 30 tokens each are written as JSON
Lines. A child process then does what a run's worker does before it trains: read, split, tokenize,
plan. Its peak resident memory after each stage is the kernel's own figure (VmHWM). On a busy
machine go by the processor seconds.
A second child does the same with the rows and the tokens in the cache. Last, a real worker trains
the starter for five steps on the file, again from the cache.

    python benchmarks/large_dataset.py --json [--rows 10000000] [--kind text|chat] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import _path  # noqa: F401

if TYPE_CHECKING:
    from lora_engine.spec import RunSpec

WORDS = 16  # of a text, or of question and answer; about 30 tokens with the number
SENTENCES = 50_000  # different ones; each row has a number of its own behind its sentence
STEPS = 5


def write_rows(path: Path, rows: int, kind: str, words: list[str]) -> None:
    """A file of JSON Lines with as many different rows."""
    draw = random.Random(0)
    sentences = [" ".join(draw.choices(words, k=WORDS)) for _ in range(SENTENCES)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"{sentences[number % SENTENCES]} {number}."
            if kind == "text":
                row = {"text": text}
            else:
                question, answer = text[: len(text) // 2], text[len(text) // 2 :]
                row = {"prompt": question, "completion": answer.strip()}
            file.write(json.dumps(row) + "\n")


def words_of_the_starter() -> list[str]:
    """Words that the bundled sets use, so that a word is about a token."""
    from lora_engine.starter import dataset_path

    text = dataset_path("pirate").read_text("utf-8")
    return sorted({word for word in text.lower().split() if word.isalpha()})


def peak_mib() -> float:
    """The process's peak resident memory so far."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def processor_seconds() -> float:
    """Of this process and of its children that have ended, on all cores."""
    return sum(os.times()[:4])


class Stages:
    """What each stage cost."""

    def __init__(self) -> None:
        self.found: list[dict] = []
        self._started, self._used = time.perf_counter(), processor_seconds()

    def end(self, name: str, rows: int | None = None) -> None:
        seconds, used = time.perf_counter() - self._started, processor_seconds() - self._used
        rate = {} if rows is None else {"rows_per_s": round(rows / seconds)}
        busy = {"seconds": round(seconds, 1), "processor_seconds": round(used, 1)}
        stage = {"stage": name, **busy, **rate}
        self.found.append(stage | {"peak_mib": round(peak_mib())})
        print(self.found[-1], file=sys.stderr, flush=True)
        self._started, self._used = time.perf_counter(), processor_seconds()


def prepare(file: Path) -> dict:
    """What a worker does before it loads the model, stage by stage; in a child process."""
    stages = Stages()
    from lora_engine.base_models import load_tokenizer, resolve_base_model
    from lora_engine.data import load_dataset, split_rows
    from lora_engine.data.token_cache import TokenCache
    from lora_engine.data.token_store import lengths_of, pieces_of
    from lora_engine.environment import load_settings
    from lora_engine.training.plan import make_plan

    settings, spec = load_settings(), spec_of(file)
    tokenizer = load_tokenizer(resolve_base_model(spec.base_model, settings))
    stages.end("imports, tokenizer")
    dataset = load_dataset(spec.dataset, settings)
    rows = len(dataset.rows)
    stages.end("read", rows)
    training, _ = split_rows(dataset, spec.dataset.eval_fraction, spec.seed)
    stages.end("split", rows)
    cache = TokenCache(settings.token_cache_dir, settings.max_cache_mb * 1_000_000)
    tokens = cache.tokenize(dataset.rows, tokenizer, spec.optimization.max_length)
    stages.end("tokenize", rows)
    lengths = lengths_of(pieces_of(tokens.rows, training))
    make_plan(lengths, spec.optimization, spec.seed).batches(1)
    stages.end("plan", rows)
    return {"rows": rows, "tokens_a_row": round(float(lengths.mean()), 1), "stages": stages.found}


def spec_of(file: Path) -> RunSpec:
    from lora_engine.spec import RunSpec

    return RunSpec.model_validate(
        {
            "name": "large",
            "base_model": "starter",
            "dataset": {"source": str(file), "eval_fraction": 0.00001},
            "optimization": {"max_steps": STEPS, "epochs": None},
        }
    )


def train(file: Path, folder: Path, environment: dict[str, str]) -> dict:
    """A real worker on the same file: everything from the cache, then the steps."""
    from lora_engine.run_folder import RunDirectory

    directory = RunDirectory(folder / "run")
    directory.create(spec_of(file))
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lora_engine.training.worker", str(directory.path)],
        env=environment,
        cwd=Path(__file__).resolve().parents[1],
        check=False,
    )
    result = directory.result()
    return {
        "state": None if result is None else result.state,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mib": None if result is None else round(result.peak_memory_bytes / 2**20),
        "losses": [round(row.loss, 3) for row in directory.metrics()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--kind", choices=("text", "chat"), default="text")
    parser.add_argument("--folder", type=Path, help="where the file and the cache are put")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(prepare(given.child)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        file = folder / "rows.jsonl"
        started = time.perf_counter()
        write_rows(file, given.rows, given.kind, words_of_the_starter())
        wrote = time.perf_counter() - started
        print(f"wrote {file.stat().st_size:,} bytes in {wrote:.0f} s", file=sys.stderr, flush=True)
        data = folder / "data"
        environment = os.environ | {"LORA_DATA_DIR": str(data), "LORA_MAX_CACHE_MB": "100000"}
        child = [sys.executable, __file__, "--child", str(file)]
        first = subprocess.run(child, check=True, stdout=subprocess.PIPE, env=environment)
        cached = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
        again = subprocess.run(child, check=True, stdout=subprocess.PIPE, env=environment)
        found = {
            "kind": given.kind,
            "cpus": os.cpu_count(),
            "file_bytes": file.stat().st_size,
            "cache_bytes": cached,
            "first": json.loads(first.stdout),
            "from_cache": json.loads(again.stdout),
            "training": train(file, folder, environment),
        }
    print(json.dumps(found, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
